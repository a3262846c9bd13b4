"""The training loop that every family goes through: batches in, metrics and checkpoints out.

The loop keeps no state of its own. A batch is a function of (seed, step) and the checkpoint holds everything
a step changes, so a run that is killed and started again ends with the same bits as one that was not.
"""

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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

    The report of a step is read only when the next one is dispatched and the batch after that is there, so
    that the devices never wait for the host; before a checkpoint it is read at once.

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
    writer = MetricsWriter(folder, start) if is_leader() else contextlib.nullcontext()
    with writer as metrics, stop_requests() as asked_to_stop:
        reports = _Reports(training, checkpoints, metrics, progress)
        batch = batch_of(start)
        for step in range(start, training.steps):
            rate = learning_rate(step)  # dispatched first: after the step it would wait for it
            with jax.transfer_guard("disallow"):
                state, report = strategy.step(state, batch)
            done = step + 1
            if done < training.steps:
                batch = batch_of(done)
            reports.dispatched(done, report, rate)
            stop = any_process(asked_to_stop())
            if stop or done % training.checkpoint_every == 0 or done == training.steps:
                reports.settle()  # only then may the state be called good and saved
                checkpoints.save(done, state)
                reports.clock = time.perf_counter()
            if stop:
                raise KeyboardInterrupt
    progress.close()
    return state


@dataclass
class _Reports:
    """Reads what steps report, in their order and one step late: checks, writes and shows it.

    clock: when the step before the one in flight was done. in_flight: a step, its report and learning rate.
    """

    training: Training
    checkpoints: Checkpoints
    metrics: MetricsWriter | None
    progress: Progress
    clock: float = field(default_factory=time.perf_counter)
    in_flight: tuple[int, Mapping[str, jax.Array], Any] | None = None

    def dispatched(self, step: int, report: Mapping[str, jax.Array], learning_rate: Any) -> None:
        """Keeps the report of a step that was just dispatched, and reads that of the one before."""
        self.settle()
        self.in_flight = step, report, learning_rate

    def settle(self) -> None:
        """Waits for the step in flight, where there is one, and reads its report.

        Raises:
          Diverged: its loss or gradient is not finite.
        """
        if self.in_flight is None:
            return
        (step, *in_flight), self.in_flight = self.in_flight, None
        report, learning_rate = jax.device_get(in_flight)
        report = {name: float(value) for name, value in report.items()}
        seconds, self.clock = time.perf_counter() - self.clock, time.perf_counter()
        if not (math.isfinite(report["loss"]) and math.isfinite(report["grad_norm"])):
            raise self._diverged(step, report)
        tokens_per_second = self.training.tokens_per_step / seconds
        utilisation = mfu(tokens_per_second, self.training.flops_per_token, self.training.peak_flops)
        if self.metrics is not None:
            self.metrics.write(
                step, **report, learning_rate=float(learning_rate), seconds=seconds,
                tokens_per_second=tokens_per_second, mfu=utilisation,
            )  # fmt: skip
        self.progress.update(step, report["loss"], tokens_per_second, utilisation)

    def _diverged(self, step: int, report: Mapping[str, float]) -> Diverged:
        good = self.checkpoints.latest()
        kept = (
            f"The last good checkpoint is step {good} in {self.checkpoints.folder}"
            if good
            else "No checkpoint was made before it"
        )
        return Diverged(
            f"{self.training.label}: the loss is {report['loss']} and the gradient norm "
            f"{report['grad_norm']} at step {step}; the run stops here. {kept}. Another seed, float32, or a "
            "lower peak learning rate is the usual way out."
        )
