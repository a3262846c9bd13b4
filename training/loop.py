"""The training loop that every family goes through: batches in, metrics and checkpoints out.

The loop keeps no state of its own. A batch is a function of (seed, step) and the checkpoint holds everything
a step changes, so a run that is killed and started again ends with the same bits as one that was not.
"""

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from errors import InputError
from models.flops import mfu
from parallelism.interface import Strategy, TrainState
from processes.start import any_process, is_leader
from progress import Progress
from training.checkpoints import Checkpoints
from training.interruption import stop_requests
from training.metrics import MetricsWriter

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Training:
    """How long and how loudly.

    tokens_per_step, flops_per_token and peak_flops give the tokens/s and MFU that are shown and written.
    configuration: the model's, by which checkpoints are told from those of another.
    """

    steps: int
    seed: int
    checkpoint_every: int
    tokens_per_step: int
    flops_per_token: float
    peak_flops: float
    label: str
    configuration: Mapping[str, Any]


class Diverged(InputError):
    """The loss or the gradient stopped being a finite number."""


def train(
    training: Training,
    strategy: Strategy,
    batch_of: Callable[[int], Any],
    learning_rate: Callable,
    folder: Path,
) -> TrainState:
    """Trains to the last step, from the newest checkpoint in `folder` where there is one.

    Args:
      batch_of: step -> a tree of arrays [B, ...], the same for the same step whenever it is asked; of many
        processes, the rows that `strategy.rows` gives this one.
      learning_rate: updates made -> learning rate, to be written beside the loss.

    Raises:
      Diverged: naming the step and the last good checkpoint.
      KeyboardInterrupt: after SIGINT or SIGTERM in any process, once the step in flight is saved.
    """
    checkpoints = Checkpoints(folder / CHECKPOINTS, configuration=training.configuration)
    if checkpoints.latest() is None:
        start, state = 0, strategy.init(jax.random.key(training.seed))
    else:
        start, state = checkpoints.restore(strategy.like)
    if start >= training.steps:
        return state

    progress = Progress(training.label, training.steps, start, shown=is_leader())
    clock = time.perf_counter()
    writer = MetricsWriter(folder, start) if is_leader() else contextlib.nullcontext()
    with writer as metrics, stop_requests() as asked_to_stop:
        for step in range(start, training.steps):
            state, report = strategy.step(state, batch_of(step))
            # Reading the report waits for the step, and only then may the state be called good and saved.
            report = {name: float(value) for name, value in report.items()}
            seconds, clock = time.perf_counter() - clock, time.perf_counter()
            done = step + 1
            if not (math.isfinite(report["loss"]) and math.isfinite(report["grad_norm"])):
                _stop(training, checkpoints, folder, done, report)
            tokens_per_second = training.tokens_per_step / seconds
            utilisation = mfu(tokens_per_second, training.flops_per_token, training.peak_flops)
            if metrics is not None:
                metrics.write(
                    done, **report, learning_rate=float(learning_rate(step)), seconds=seconds,
                    tokens_per_second=tokens_per_second, mfu=utilisation,
                )  # fmt: skip
            progress.update(done, report["loss"], tokens_per_second, utilisation)
            stop = any_process(asked_to_stop())
            if stop or done % training.checkpoint_every == 0 or done == training.steps:
                checkpoints.save(done, state)
                clock = time.perf_counter()
            if stop:
                raise KeyboardInterrupt
    progress.close()
    return state


def _stop(training, checkpoints, folder, step, report):
    good = checkpoints.latest()
    kept = (
        f"The last good checkpoint is step {good} in {folder / CHECKPOINTS}"
        if good
        else "No checkpoint was made before it"
    )
    raise Diverged(
        f"{training.label}: the loss is {report['loss']} and the gradient norm {report['grad_norm']} at step "
        f"{step}; the run stops here. {kept}. Another seed, --precision float32, or a lower peak in "
        "training/recipes.py is the usual way out."
    )
