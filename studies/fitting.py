"""Will a trial fit this machine, and how long will it take? By XLA's own account of the very step."""

import dataclasses
import math
from dataclasses import dataclass

import jax
import psutil

from errors import InputError
from models.families import count, parameter_shapes
from models.flops import train_flops_per_token
from parallelism.interface import Parallelism
from parallelism.mesh import batch_ways
from planning.ahead_of_time import held
from studies.peaks import SMALL
from studies.trials.train import strategy_of
from studies.trials.trial import Trial
from training.objective import batch_shapes

# On a CPU a part of a batch that is larger trains no faster, and holds more.
CPU_TOKENS = 2048
# Of the measured rate of matrix products, what a step is taken to reach. Not measured yet at these sizes.
REACHED = {"palm": 0.6, "gopher": 0.55, "retro": 0.5}


@dataclass(frozen=True)
class Need:
    """What a training step takes of each device.

    micro_batches: parts of a batch. state: bytes of parameters and optimiser. temporary: bytes of activations
    and gradients. process: bytes that the process holds before it trains; on a CPU they are of the same
    memory. there: bytes that the device has to give. flops: of a step, as computed.
    """

    micro_batches: int
    state: int
    temporary: int
    process: int
    there: int
    flops: float

    @property
    def bytes(self) -> int:
        return self.state + self.temporary + self.process

    @property
    def fits(self) -> bool:
        return self.bytes <= self.there


def need_of(trial: Trial, mesh: jax.sharding.Mesh, how: Parallelism) -> Need:
    """Compiles the step of `trial` on `mesh`; nothing is allocated.

    Raises:
        InputError: the strategy is none of one program, or cannot cut this batch.
    """
    lower = strategy_of(trial, mesh, how).lower
    if lower is None:
        raise InputError(
            f"The memory of --strategy {how.strategy} is not known before it runs, since its step is several "
            "programs. Give --micro-batches as a number, or --strategy mesh."
        )
    given, temporary = held(lower(batch_shapes(trial.config, trial.batch_size, trial.length)).compile())
    process, there = _memory(mesh)
    flops = train_flops_per_token(trial.config, trial.length, batch_size=trial.batch_size)
    if mesh.devices.flat[0].platform == "cpu":  # all devices are of one memory
        given, temporary = given * mesh.size, temporary * mesh.size
    return Need(
        how.micro_batches, given, temporary, process, there, flops * trial.batch_size * trial.length
    )  # fmt: skip


def fitted(trial: Trial, mesh: jax.sharding.Mesh, how: Parallelism) -> tuple[Parallelism, Need]:
    """`how` with the micro-batches that suit the machine: on a CPU parts of CPU_TOKENS, elsewhere as few as
    fit, or a sequence per device and part. What other processes take at the moment decides nothing: a run
    that goes on later is to be cut alike, or it would round otherwise.
    """
    sequences = trial.batch_size // batch_ways(mesh)  # of each device
    cuts = [parts for parts in range(1, sequences + 1) if sequences % parts == 0] or [1]
    if mesh.devices.flat[0].platform == "cpu":
        tokens = sequences * trial.length
        best = min(cuts, key=lambda parts: abs(math.log(tokens / parts / CPU_TOKENS)))
        cuts = [best]
    for parts in cuts:
        cut = dataclasses.replace(how, micro_batches=parts)
        need = need_of(trial, mesh, cut)
        if need.fits:
            break
    return cut, need


def require_fit(trial: Trial, mesh: jax.sharding.Mesh, how: Parallelism = Parallelism()) -> Parallelism:  # noqa: B008
    """`how`, with as many micro-batches as the memory asks for where the model is larger than `tiny` and they
    were left at one.

    Raises:
        InputError: it does not fit this machine.
    """
    if how.strategy != "mesh" or count(parameter_shapes(trial.config)) < SMALL:
        return how
    if how.micro_batches == 1:
        how, need = fitted(trial, mesh, how)
    else:
        need = need_of(trial, mesh, how)
    if not need.fits:
        raise InputError(too_large(trial, need))
    return how


def too_large(trial: Trial, need: Need) -> str:
    """What does not fit, and the way out."""
    if need.state + need.process > need.there:
        way_out = "Parameters and optimiser alone do not fit: give a smaller size, or more devices (--mesh)."
    else:
        rematerialised = "" if trial.config.decoder.remat == "full" else "--remat full, "
        way_out = f"Give {rematerialised}more --micro-batches, or a shorter --length."
    return (
        f"{trial.name} is expected to take {need.bytes / 1e9:.1f} GB, and there are {need.there / 1e9:.1f} "
        f"GB. {way_out}"
    )


def predicted_seconds(need: Need, family: str, steps: int, peak: float) -> float:
    """Of `steps` steps; peak: the measured rate of matrix products of all devices, in FLOP/s."""
    return steps * need.flops / (REACHED[family] * peak)


def _memory(mesh: jax.sharding.Mesh) -> tuple[int, int]:
    """Bytes that this process holds of a device's memory, and that it may hold."""
    device = mesh.local_devices[0]
    statistics = device.memory_stats() if device.platform != "cpu" else None
    if statistics:
        return statistics["bytes_in_use"], statistics["bytes_limit"]
    own = psutil.Process().memory_info().rss
    return own, own + psutil.virtual_memory().available
