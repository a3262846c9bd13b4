"""Training without a pipeline, as PaLM did, against pipelines, as its predecessors did: who waits, who holds
what, and what is sent.

    python -m experiments.parallelism

The same dense model on the same batch, over the same number of virtual CPU devices: as one program (fully
sharded data parallel, PaLM section 4), and cut into stages that run micro-batches by GPipe and by 1F1B. All
virtual devices share the machine's cores, so a step's wall clock says nothing of speed on devices of their
own. Hence every program of a pipeline is timed alone, and the times are put through the schedule. Then the
same for published systems, by arithmetic.
"""

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from command import command
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
    bubble,
    idle_share,
    live_inputs,
    schedule,
    simulate,
)
from parallelism.strategies.spmd import spmd
from planning.collectives import SENT, Collective, collectives
from planning.published_systems import published_systems, system_rows
from planning.watch import UPDATE, Key, Watch, duration, shape_of
from progress import Progress
from reports.systems.parallelism import terminal_tables, with_tables
from reports.systems.timeline import side_by_side, timeline_png
from storage.files import write_atomic
from studies.environment import environment
from training.objective import objective
from training.precision import optimiser_under
from training.recipes import recipe

MEASURED_STEPS, WATCHED_STEPS = 3, 3
PIPELINE_FREE = "pipeline-free"


@dataclass(frozen=True)
class Options:
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
    out: Path = Path("runs/parallelism")
    """Folder for results.json and timeline.png."""
    document: Path | None = None
    """A Markdown file whose tables are filled in anew, such as docs/parallelism.md."""


def parallelism(options: Options) -> None:
    """Measures, prints the tables, and writes results.json and timeline.png into `options.out`."""
    devices = _devices(options)
    measured = _pipelined(options, devices)  # these first: they refuse what cannot be cut
    measured = {PIPELINE_FREE: _pipeline_free(options, devices), **measured}
    results = {
        "experiment": "parallelism",
        "config": {k: v for k, v in dataclasses.asdict(options).items() if k not in ("out", "document")},
        "environment": environment(),
        "rows": [row for row, _ in measured.values()],
        "timelines": {
            name: [[span.stage, *span.task, span.start, span.end] for span in spans]
            for name, (_, spans) in measured.items()
        },
        "published_systems": system_rows(published_systems()),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    write_atomic(options.out / "results.json", json.dumps(results, indent=1))
    write_atomic(options.out / "timeline.png", timeline_png(results))
    if options.document:
        text = options.document.read_text(encoding="utf-8")
        write_atomic(options.document, with_tables(text, results))
    print(terminal_tables(results))


def _devices(options: Options) -> list[jax.Device]:
    """As many as the stages take; on a CPU they are made."""
    for name in ("stages", "data", "model_parallel", "batch_size", "length"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(options, name)}: give at least 1.")
    count = options.stages * options.data * options.model_parallel
    try:
        if jax.config.jax_num_cpu_devices < count:
            jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        pass  # JAX has its devices already
    if jax.device_count() < count:
        raise InputError(
            f"--stages {options.stages} x --data {options.data} x --model-parallel {options.model_parallel} "
            f"take {count} devices, but there are {jax.device_count()}. Give smaller ones, or set "
            "JAX_PLATFORMS=cpu: on a CPU, devices are made as needed."
        )
    return jax.devices()[:count]


def _training(options: Options, remat: str) -> tuple[Objective, Optimiser]:
    """The model under its family's recipe."""
    config = with_decoder_fields(
        configuration(options.model), num_layers=options.layers, vocab_size=options.vocab_size,
        max_length=options.length, remat=remat,
    )  # fmt: skip
    family, steps = family_of(config), 1 + MEASURED_STEPS + WATCHED_STEPS
    trained = objective(build(config), family.name, "float32")
    return trained, optimiser_under("float32", recipe(family.recipe, steps))


def _batch(options: Options, rows: int | None = None) -> dict[str, Any]:
    """Random tokens, the same for everyone; `rows` takes the first of them."""
    shape = (options.batch_size, options.length + 1)
    tokens = np.random.default_rng(0).integers(0, options.vocab_size, shape, np.int32)[:rows]
    weights = np.ones(tokens[:, 1:].shape, np.float32)
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weights": weights, "neighbours": None}


def _pipelined(options: Options, devices: Sequence[jax.Device]) -> dict[str, tuple[dict, list[Span]]]:
    """By schedule: a row, and when each stage works if it has a machine like this for itself.

    A stage recomputes its forward pass, so its layers need not. It has its parameters whole and its optimiser
    state partitioned over `data`, as is usual (Narayanan et al. 2021, Smith et al. 2022).
    """
    shape = MeshShape(options.stages, options.data, options.model_parallel)
    mesh, training = make_mesh(shape, devices), _training(options, "none")
    watches, steps, found = {name: Watch() for name in SCHEDULES}, {}, {}
    for name, watch in watches.items():
        how = Parallelism("pipeline", zero=1, micro_batches=options.micro_batches, schedule=name)
        strategy = pipeline(*training, mesh, how, watch)
        steps[name] = _steps(name, strategy, _batch(options), watch)

    stages = range(options.stages)
    forward, backward = (  # both schedules run the same programs
        [duration(watches.values(), stage, kind) for stage in stages] for kind in (FORWARD, BACKWARD)
    )
    for name, watch in watches.items():
        tasks = schedule(name, options.stages, options.micro_batches)
        spans = simulate(tasks, forward, backward)
        row = {
            "strategy": name,
            "mesh": str(shape),
            **steps[name],
            "forward_seconds": forward,
            "backward_seconds": backward,
            "idle_share": idle_share(spans, options.stages),
            "idle_share_formula": bubble(options.stages, options.micro_batches),
            "inputs_held": [watch.most_held(stage)[0] for stage in stages],
            "inputs_held_formula": [max(live_inputs(own)) for own in tasks],
            "held_bytes": max(watch.most_held(stage)[1] for stage in stages),
            "sent_bytes": max(watch.received.values()) // WATCHED_STEPS,
            **_compiled(watch.compiled(), watch.runs_per_step(), shape),
        }
        found[name] = row, spans
    return found


def _pipeline_free(options: Options, devices: Sequence[jax.Device]) -> tuple[dict, list[Span]]:
    """One program over all devices. Like a stage it computes every forward pass twice.

    Where its devices work is drawn from the time that a group of them, as large as a stage, takes for a
    micro-batch through the whole depth.
    """
    shape = MeshShape(1, options.stages * options.data, options.model_parallel)
    strategy = spmd(*_training(options, "full"), make_mesh(shape, devices), Parallelism(zero=3))
    batch = _batch(options)
    row = {
        "strategy": PIPELINE_FREE,
        "mesh": str(shape),
        **_steps(PIPELINE_FREE, strategy, batch),
        "idle_share": 0.0,
        "idle_share_formula": 0.0,
        **_compiled({UPDATE: strategy.lower(jax.tree.map(shape_of, batch)).compile()}, {UPDATE: 1}, shape),
    }
    watch, group = Watch(), MeshShape(1, options.data, options.model_parallel)
    how, mesh = Parallelism("pipeline", zero=1, micro_batches=2), make_mesh(group, devices[: group.size])
    two = _batch(options, 2 * options.batch_size // options.micro_batches)
    alone = pipeline(*_training(options, "none"), mesh, how, watch)
    _steps(f"{PIPELINE_FREE}, one group", alone, two, watch)
    forward, backward = (duration([watch], 0, kind) for kind in (FORWARD, BACKWARD))
    return row, side_by_side(options.stages, options.micro_batches, forward, backward)


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
        found = collectives(program.as_text(), shape if (stage, kind) == UPDATE else of_stage)
        sent.setdefault(stage, []).extend((one, runs[stage, kind] * one.sent) for one in found)
    update = sent.pop(UPDATE[0])
    most = update + max(sent.values(), key=lambda found: sum(size for _, size in found), default=[])
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


if __name__ == "__main__":
    command(
        parallelism, Options, "Train one dense model without a pipeline and with two, and show who waits."
    )
