"""The same training steps without a pipeline and with two, measured: seconds, bytes held and sent, idle time.

All virtual devices share the machine's cores, so a step's wall clock says nothing of speed on devices of
their own. Hence every program of a pipeline is timed alone, and the times are put through the schedule.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from command import require_positive
from errors import InputError
from models.families import build, configuration, family_of, with_decoder_fields
from parallelism.interface import Objective, Optimiser, Parallelism, Strategy
from parallelism.mesh import MeshShape, make_mesh
from parallelism.strategies.pipeline import pipeline
from parallelism.strategies.schedules import (
    BACKWARD,
    FORWARD,
    SCHEDULES,
    Span,
    Task,
    bubble,
    idle_share,
    live_inputs,
    schedule,
    simulate,
)
from parallelism.strategies.spmd import spmd
from planning.collectives import SENT, Collective, collectives
from planning.watch import UPDATE, Key, Watch, duration, shape_of
from progress import Progress
from training.objective import objective
from training.precision import optimiser_under
from training.recipes import recipe

MEASURED_STEPS, WATCHED_STEPS = 3, 3
PIPELINE_FREE = "pipeline-free"


@dataclass(frozen=True)
class Setting:
    """What is trained, and how it is cut."""

    model: str = "palm/tiny"
    """A dense model, palm/SIZE or gopher/SIZE."""
    layers: int = 8
    """Layers of it; the stages divide them."""
    vocab_size: int = 256
    """Tokens; the more there are, the longer the others wait for the last stage, which has the logits too."""
    stages: int = 4
    """Stages of the pipelines; the pipeline-free program has as many times more data parallelism."""
    micro_batches: int = 8
    """Micro-batches that the pipelines cut a batch into."""
    data: int = 2
    """Ways in which each stage splits a micro-batch."""
    model_parallel: int = 1
    """Ways in which matrices are split, within a stage and without a pipeline alike."""
    batch_size: int = 16
    """Sequences in a batch."""
    length: int = 256
    """Tokens in a sequence."""


def measured_steps(setting: Setting) -> dict[str, tuple[dict[str, Any], list[Span]]]:
    """By strategy, the pipeline-free one first: a row, and when each stage works if it has a machine like
    this for itself.

    Raises:
      InputError: a number below 1, too few devices, or stages and micro-batches that do not divide.
    """
    devices = devices_for(setting)
    pipelines = pipelined(setting, devices)  # these first: they refuse what cannot be cut
    return {PIPELINE_FREE: pipeline_free(setting, devices), **pipelines}


def devices_for(setting: Setting) -> list[jax.Device]:
    """As many as the stages take; on a CPU they are made."""
    require_positive(setting, "stages", "data", "model_parallel", "batch_size", "length")
    count = setting.stages * setting.data * setting.model_parallel
    try:
        if jax.config.jax_num_cpu_devices < count:
            jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        pass  # JAX has its devices already
    if jax.device_count() < count:
        raise InputError(
            f"--stages {setting.stages} x --data {setting.data} x --model-parallel {setting.model_parallel} "
            f"take {count} devices, but there are {jax.device_count()}. Give smaller ones, or set "
            "JAX_PLATFORMS=cpu: on a CPU, devices are made as needed."
        )
    return jax.devices()[:count]


def _training(setting: Setting, remat: str) -> tuple[Objective, Optimiser]:
    """The model under its family's recipe."""
    config = with_decoder_fields(
        configuration(setting.model), num_layers=setting.layers, vocab_size=setting.vocab_size,
        max_length=setting.length, remat=remat,
    )  # fmt: skip
    family, steps = family_of(config), 1 + MEASURED_STEPS + WATCHED_STEPS
    trained = objective(build(config), family.name, "float32")
    return trained, optimiser_under("float32", recipe(family.recipe, steps))


def _batch(setting: Setting, rows: int | None = None) -> dict[str, Any]:
    """Random tokens, the same for everyone; `rows` takes the first of them."""
    shape = (setting.batch_size, setting.length + 1)
    tokens = np.random.default_rng(0).integers(0, setting.vocab_size, shape, np.int32)[:rows]
    weights = np.ones(tokens[:, 1:].shape, np.float32)
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weights": weights, "neighbours": None}


def pipelined(setting: Setting, devices: Sequence[jax.Device]) -> dict[str, tuple[dict, list[Span]]]:
    """By schedule: a row, and when each stage works if it has a machine like this for itself.

    A stage recomputes its forward pass, so its layers need not. It has its parameters whole and its optimiser
    state partitioned over `data`, as is usual (Narayanan et al. 2021, Smith et al. 2022).
    """
    shape = MeshShape(setting.stages, setting.data, setting.model_parallel)
    mesh, training = make_mesh(shape, devices), _training(setting, "none")
    watches, steps, measured = {name: Watch() for name in SCHEDULES}, {}, {}
    for name, watch in watches.items():
        how = Parallelism("pipeline", zero=1, micro_batches=setting.micro_batches, schedule=name)  # type: ignore[arg-type]
        strategy = pipeline(*training, mesh, how, watch)
        steps[name] = _steps(name, strategy, _batch(setting), watch)

    stages = range(setting.stages)
    forward, backward = (  # both schedules run the same programs
        [duration(watches.values(), stage, kind) for stage in stages] for kind in (FORWARD, BACKWARD)
    )
    for name, watch in watches.items():
        tasks = schedule(name, setting.stages, setting.micro_batches)
        spans = simulate(tasks, forward, backward)
        row = {
            "strategy": name,
            "mesh": str(shape),
            **steps[name],
            "forward_seconds": forward,
            "backward_seconds": backward,
            "idle_share": idle_share(spans, setting.stages),
            "idle_share_formula": bubble(setting.stages, setting.micro_batches),
            "inputs_held": [watch.most_held(stage)[0] for stage in stages],
            "inputs_held_formula": [max(live_inputs(own)) for own in tasks],
            "held_bytes": max(watch.most_held(stage)[1] for stage in stages),
            "sent_bytes": max(watch.received.values()) // WATCHED_STEPS,
            **_compiled(watch.compiled(), watch.runs_per_step(), shape),
        }
        measured[name] = row, spans
    return measured


def pipeline_free(setting: Setting, devices: Sequence[jax.Device]) -> tuple[dict, list[Span]]:
    """One program over all devices. Like a stage it computes every forward pass twice.

    Where its devices work is drawn from the time that a group of them, as large as a stage, takes for a
    micro-batch through the whole depth.
    """
    shape = MeshShape(1, setting.stages * setting.data, setting.model_parallel)
    strategy = spmd(*_training(setting, "full"), make_mesh(shape, devices), Parallelism(zero=3))
    batch = _batch(setting)
    row = {
        "strategy": PIPELINE_FREE,
        "mesh": str(shape),
        **_steps(PIPELINE_FREE, strategy, batch),
        "idle_share": 0.0,
        "idle_share_formula": 0.0,
        **_compiled({UPDATE: strategy.lower(jax.tree.map(shape_of, batch)).compile()}, {UPDATE: 1}, shape),
    }
    watch, group = Watch(), MeshShape(1, setting.data, setting.model_parallel)
    how, mesh = Parallelism("pipeline", zero=1, micro_batches=2), make_mesh(group, devices[: group.size])
    two = _batch(setting, 2 * setting.batch_size // setting.micro_batches)
    alone = pipeline(*_training(setting, "none"), mesh, how, watch)
    _steps(f"{PIPELINE_FREE}, one group", alone, two, watch)
    forward, backward = (duration([watch], 0, kind) for kind in (FORWARD, BACKWARD))
    return row, side_by_side(setting.stages, setting.micro_batches, forward, backward)


def _compiled(
    programs: Mapping[Key, jax.stages.Compiled], runs: Mapping[Key, float], shape: MeshShape
) -> dict[str, int | dict[str, int]]:
    """Of a device: what the largest program sets aside beside arguments and results; what it sends in the
    collectives of a step on the stage with the most, the update included; how much of that is weights and
    their gradients: what crosses data or pods.
    """
    of_stage = MeshShape(1, shape.data, shape.model)
    sent: dict[int, list[tuple[Collective, float]]] = {}
    for (stage, kind), program in programs.items():
        calls = collectives(program.as_text(), shape if (stage, kind) == UPDATE else of_stage)
        sent.setdefault(stage, []).extend((one, runs[stage, kind] * one.sent) for one in calls)
    update = sent.pop(UPDATE[0])
    most = update + max(sent.values(), key=lambda calls: sum(size for _, size in calls), default=[])
    return {
        "temporary_bytes": max(program.memory_analysis().temp_size_in_bytes for program in programs.values()),
        "collective_bytes": {
            kind: round(sum(size for one, size in most if one.kind == kind)) for kind in SENT
        },
        "weight_bytes": round(sum(size for one, size in most if one.axes != ("model",))),
    }


def _steps(label: str, strategy: Strategy, batch: Any, watch: Watch | None = None) -> dict[str, Any]:
    """What MEASURED_STEPS steps took after one that waits for the compiler; then some are watched."""
    progress = Progress(label, 1 + MEASURED_STEPS + (WATCHED_STEPS if watch else 0))
    state, losses, seconds = strategy.init(jax.random.key(0)), [], []
    for done in range(1, 2 + MEASURED_STEPS):
        start = time.perf_counter()
        state, report = jax.block_until_ready(strategy.step(state, batch))
        seconds.append(time.perf_counter() - start)
        losses.append(float(report["loss"]))
        progress.advance(done)
    for done in range(1, 1 + WATCHED_STEPS if watch else 0):
        state, _ = watch.step(strategy.step, state, batch)
        progress.advance(1 + MEASURED_STEPS + done)
    progress.close()
    return {"losses": losses, "step_seconds": seconds[1:]}


def side_by_side(groups: int, micro_batches: int, forward: float, backward: float) -> list[Span]:
    """Groups of devices that share a batch of `micro_batches` equally and never wait for one another.

    Args:
      forward, backward: seconds that a micro-batch takes through the whole depth.
    """
    spans, own = [], micro_batches / groups
    for group in range(groups):
        start = 0.0
        for k in range(math.ceil(own)):
            for kind, seconds in ((FORWARD, forward), (BACKWARD, backward)):
                end = start + min(1.0, own - k) * seconds
                spans.append(Span(group, Task(kind, k * groups + group), start, end))
                start = end
    return spans
