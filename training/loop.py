"""The training loop that every family goes through: batches in, metrics and checkpoints out.

The loop keeps no state of its own. A batch is a function of (seed, step) and the checkpoint holds everything
a step changes, so a run that is killed and started again ends with the same bits as one that was not.
"""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax

from errors import InputError
from models.flops import mfu
from parallelism.interface import Strategy, TrainState
from processes.start import any_process, barrier, is_leader
from progress import Progress
from training.checkpoints import Checkpoints
from training.interruption import stop_requests
from training.metrics import MetricsWriter, read_metrics
from training.profile import traced
from training.spikes import MOST, Skipped, SpikeRule, read_skipped, write_skipped

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Training:
    """How long and how loudly.

    tokens_per_step, flops_per_token and peak_flops give the tokens/s and MFU that are shown and written.
    configuration: the model's, by which checkpoints are told from those of another. keep: so many
    checkpoints, the newest. spikes: what is gone back before; None goes on whatever the loss. first: the step
    that is not gone back beyond, where the model was evaluated. profile: the steps that are traced.
    """

    steps: int
    seed: int
    checkpoint_every: int
    tokens_per_step: int
    flops_per_token: float
    peak_flops: float
    label: str
    configuration: Mapping[str, Any]
    keep: int = 2
    spikes: SpikeRule | None = None
    first: int = 0
    profile: range | None = None


class Diverged(InputError):
    """The loss or the gradient stopped being a finite number."""


class _Spike(Exception):
    """line: the step, its loss and gradient norm."""

    def __init__(self, line: dict[str, Any]):
        super().__init__(line)
        self.line = line


def train(
    training: Training,
    strategy: Strategy,
    batch_of: Callable[[int], Any],
    learning_rate: Callable,
    folder: Path,
) -> TrainState:
    """Trains to the last step, from the newest checkpoint in `folder` where there is one.

    The report of a step is read only when the next one is dispatched and the batch after that is there, so
    that the devices never wait for the host; before a checkpoint it is read at once. Batches that
    `training.spikes` left out, or somebody wrote into the folder, are passed over.

    Args:
      batch_of: step -> a tree of arrays [B, ...], the same for the same step whenever it is asked; of many
        processes, the rows that `strategy.rows` gives this one.
      learning_rate: updates made -> learning rate, to be written beside the loss.

    Raises:
      Diverged: naming the step and the last good checkpoint.
      KeyboardInterrupt: after SIGINT or SIGTERM in any process, once the step in flight is saved.
    """
    keep = training.keep
    if training.spikes is not None:  # one is left that lies far enough back
        keep = max(keep, 2 + -(-training.spikes.back // training.checkpoint_every))
    checkpoints = Checkpoints(folder / CHECKPOINTS, keep, configuration=training.configuration)
    while True:
        try:
            return _trained(training, strategy, batch_of, learning_rate, folder, checkpoints)
        except _Spike as spike:
            _go_back(training, spike.line, folder, checkpoints)


def _trained(
    training: Training, strategy: Strategy, batch_of: Callable[[int], Any], learning_rate: Callable,
    folder: Path, checkpoints: Checkpoints,
) -> TrainState:  # fmt: skip
    """To the last step, or to a spike."""
    if checkpoints.latest() is None:
        start, state = 0, strategy.init(jax.random.key(training.seed))
    else:
        start, state = checkpoints.restore(strategy.like)
    if start >= training.steps:
        return state

    skipped = read_skipped(folder)
    progress = Progress(training.label, training.steps, start, shown=is_leader())
    writer = MetricsWriter(folder, start) if is_leader() else contextlib.nullcontext()
    with (
        writer as metrics,
        stop_requests() as asked_to_stop,
        traced(folder, training.profile if is_leader() else None) as before_step,
    ):
        lines = read_metrics(folder) if training.spikes and start else []
        reports = _Reports(training, checkpoints, metrics, progress, lines)
        batch = batch_of(skipped.batch_number(start))
        for step in range(start, training.steps):
            before_step(step, state)
            rate = learning_rate(step)  # dispatched first: after the step it would wait for it
            with jax.transfer_guard("disallow"):
                state, report = strategy.step(state, batch)
            done = step + 1
            if done < training.steps:
                batch = batch_of(skipped.batch_number(done))
            reports.dispatched(done, report, rate)
            stop = any_process(asked_to_stop())
            if stop or done % training.checkpoint_every == 0 or done == training.steps:
                reports.settle()  # only then may the state be called good and saved
                checkpoints.save(done, state)
                reports.clock = time.perf_counter()
            if stop:
                raise KeyboardInterrupt
        before_step(training.steps, state)
    progress.close()
    return state


def _go_back(training: Training, line: Mapping[str, Any], folder: Path, checkpoints: Checkpoints) -> None:
    """Leaves out the batches around a spike, and removes the checkpoints that are too near before it.

    They go first: killed in between, the run meets the same spike again. Of many processes all do so.
    """
    rule, spiked = training.spikes, line["step"] - 1  # updates made before the one that spiked
    skipped = read_skipped(folder)
    if len(skipped.spikes) == MOST:
        raise Diverged(
            f"{training.label}: spike {MOST + 1}, at step {line['step']}; the run stops here. A lower peak "
            "learning rate, float32 or a higher threshold is the usual way out."
        )
    to = checkpoints.remove_after(max(spiked - rule.back, training.first))
    batches = skipped.batch_number(to), skipped.batch_number(spiked) + 1 + rule.skip
    barrier("the spike is known to all")
    if is_leader():
        spike = {**line, "back_to": to, "batches": list(batches)}
        write_skipped(folder, Skipped((*skipped.ranges, batches), (*skipped.spikes, spike)))
        print(
            f"{training.label}: spike at step {line['step']}, loss {line['loss']:.4f}, gradient norm "
            f"{line['grad_norm']:.4g}. Back to step {to}; batches {batches[0]}:{batches[1]} are left out.",
            file=sys.stderr,
        )
    barrier("what is left out is written")


@dataclass
class _Reports:
    """Reads what steps report, in their order and one step late: checks, writes and shows it.

    lines: what was written so far, of which a spike is told. clock: when the step before the one in flight
    was done. in_flight: a step, its report and learning rate.
    """

    training: Training
    checkpoints: Checkpoints
    metrics: MetricsWriter | None
    progress: Progress
    lines: list[dict[str, Any]]
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
          _Spike: it is one by the rule.
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
        if (rule := self.training.spikes) is not None:
            line = {"step": step, "loss": report["loss"], "grad_norm": report["grad_norm"]}
            if rule.says(line, self.lines):
                raise _Spike(line)
            self.lines.append(line)
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
