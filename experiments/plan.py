"""Will it fit, and how fast would it be? The real train step compiled for a TPU topology, without a TPU.

    python -m experiments.plan palm/540b --topology v4:12x16x16 --pods 2 --model-parallel 12 --batch 2048

The step is that of `parallelism.spmd`, in the precision and with the optimiser of the paper, all activations
rematerialised. The compiler says whether it fits and what is sent; parallelism/roofline.py says what that
would take. `--search` tries layouts by arithmetic, compiles the best of them and recommends one.
`--published` makes the table in docs/plan.md.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tabulate import tabulate

from data.artifacts import artifact, write_atomic
from errors import InputError
from experiments.ahead_of_time import Compiled, compile_step, planned
from experiments.command import command
from experiments.environment import environment
from experiments.plan_tables import advice, markdown, shown_collectives, shown_row
from experiments.workload import Run, estimated_gib, work
from models.families import configuration, family_of
from parallelism.collectives import Collective, totals
from parallelism.processes import code_hashes
from parallelism.roofline import ASSUMPTIONS, predict
from parallelism.topologies import LIBTPU, Topology, expect_no_tpu, mesh_shape, parse_topology, rings
from training.precision import COPY, MIXED

# PaLM section 5: float32 parameters, bfloat16 activations; Gopher appendix C: bfloat16, a float32 copy
# partitioned. RETRO's paper does not say.
PRECISION = {"palm": MIXED, "gopher": COPY, "retro": MIXED}
# PaLM table 3.
PUBLISHED_MFU = {"palm/540b": 46.2, "gopher/280b": 32.5}
COMPILED_BY_SEARCH = 3
COMPILED = "compiled.json"
COMPILED_FROM = ("models/", "parallelism/", "training/", "experiments/ahead_of_time")
MICRO_BATCHES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Options:
    model: Annotated[str, tyro.conf.Positional] = "palm/540b"
    """FAMILY/SIZE, such as palm/540b."""
    topology: str = "v4:12x16x16"
    """GENERATION:SHAPE of one pod in chips, such as v4:12x16x16 or v3:32x32."""
    pods: int = 1
    """Slices of that topology, joined by the data centre's network."""
    model_parallel: int = 1
    """Devices that share every layer's matrices; the rest of a pod is fully sharded data parallel."""
    batch: int = 512
    """Sequences of a step, over all pods."""
    length: int = 2048
    """Tokens of a sequence."""
    micro_batches: int = 1
    """Parts that the batch is cut into, one after another."""
    search: bool = False
    """Try all --model-parallel and --micro-batches, and recommend."""
    published: bool = False
    """Plan the published runs instead; of the other options --out and --document count."""
    out: Path = Path("runs/plan")
    """Folder for results.json."""
    artifacts: Path = Path("runs/artifacts")
    """Folder of what was compiled: the same code compiles the same layout once."""
    document: Path | None = None
    """A Markdown file to write of --published, such as docs/plan.md."""


@dataclass(frozen=True)
class Published:
    """A run as published, or as near as it can be planned. chips: what the paper says of them."""

    model: str
    topology: str
    pods: int
    model_parallel: int
    batch: int
    chips: str


NOT_PUBLISHED = "chosen; no published count was at hand"
PUBLISHED_RUNS = (
    Published("palm/8b", "v4:4x8x8", 1, 4, 512, NOT_PUBLISHED),
    Published("palm/62b", "v4:8x8x8", 1, 8, 1024, NOT_PUBLISHED),
    Published("palm/540b", "v4:12x16x16", 2, 12, 2048, "12 x 256 chips in each of two pods (section 4)"),
    Published("gopher/7.1b", "v3:16x16", 1, 4, 1024, NOT_PUBLISHED),
    Published("gopher/280b", "v3:32x32", 4, 16, 3072, "4096 chips (PaLM table 3), a pipeline over four pods"),
    Published("retro/7.5b", "v4:4x8x8", 1, 4, 1024, NOT_PUBLISHED),
)  # fmt: skip


def plan(options: Options) -> None:
    """Compiles, prints the plan, and writes results.json into the folder.

    Raises:
      InputError: a document is asked for of a single plan, or what `run_of` and `compile_step` raise.
    """
    if options.document and not options.published:
        raise InputError("--document is written of the published runs: give --published with it.")
    expect_no_tpu()
    if options.published:
        rows = published_rows(options.artifacts)
    else:
        topology = parse_topology(options.topology)
        rows = (
            searched(options, topology)
            if options.search
            else [planned_row(run_of(options, topology), topology, options.model, options.artifacts)]
        )
        for row in rows[:1]:
            print(details(row))
    print(tabulate([shown_row(row) for row in rows], headers="keys", floatfmt=".3g"))
    print("\nPredicted, not measured. " + " ".join(ASSUMPTIONS))
    write(options, rows)


def run_of(options: Options, topology: Topology) -> Run:
    """The step that the options ask for."""
    config = configuration(options.model)
    shape = mesh_shape(topology, options.pods, options.model_parallel)
    precision = PRECISION[family_of(config)]
    return planned(Run(config, shape, options.batch, options.length, options.micro_batches, precision))


def planned_row(run: Run, topology: Topology, model: str, artifacts: Path, chips: str = "") -> dict[str, Any]:
    """One row of results.json: compiled, unless this code has compiled it before, and predicted from that."""

    def build(folder: Path) -> None:
        compiled = compile_step(run, topology, f"{model} for {run.mesh.pod} x {topology}, {run.mesh}")
        write_atomic(folder / COMPILED, json.dumps(dataclasses.asdict(compiled)))

    code = {path: sha for path, sha in code_hashes().items() if path.startswith(COMPILED_FROM)}
    inputs = {"code": code, "libtpu": LIBTPU, "topology": str(topology), "run": dataclasses.asdict(run)}
    folder = artifact(artifacts, "compiled", inputs, build)
    values = json.loads((folder / COMPILED).read_text(encoding="utf-8"))
    values["collectives"] = [
        Collective(**one | {"axes": tuple(one["axes"])}) for one in values["collectives"]
    ]
    return row_of(run, topology, model, Compiled(**values), chips)


def row_of(run: Run, topology: Topology, model: str, compiled: Compiled, chips: str = "") -> dict[str, Any]:
    """See `planned_row`. Without a program, where it does not fit, what it would send is estimated."""
    sent: dict[str, float] | None = None
    if compiled.fits:
        sent = {}
        for one in compiled.collectives:
            # A group along two axes goes at the pace of the slower, which is the one between pods if it is
            # there.
            axis = "pod" if "pod" in one.axes else one.axes[0]
            sent[axis] = sent.get(axis, 0.0) + one.sent
    prediction = predict(work(run, sent), topology.chip, rings(topology, run.mesh))
    rows_of_table = -(-run.decoder.vocab_size // run.decoder.vocab_multiple) * run.decoder.vocab_multiple
    return {
        "model": model,
        "topology": str(topology),
        "pods": run.mesh.pod,
        "chips": topology.chips * run.mesh.pod,
        "chips_note": chips,
        "mesh": str(run.mesh),
        "batch": run.batch,
        "length": run.length,
        "micro_batches": run.micro_batches,
        "precision": run.precision,
        "vocab_size": run.decoder.vocab_size,
        "vocab_rows": rows_of_table,
        "fits": compiled.fits and compiled.peak_gib <= topology.chip.hbm_gib,
        "peak_gib": compiled.peak_gib,
        "arguments_gib": compiled.arguments_gib,
        "temporaries_gib": compiled.temporaries_gib,
        "hbm_gib": topology.chip.hbm_gib,
        "compile_seconds": compiled.seconds,
        "compile_cpu_seconds": compiled.cpu_seconds,
        "collectives": totals(compiled.collectives),
        "compute_seconds": prediction.compute,
        "memory_seconds": prediction.memory,
        "transfer_seconds": dict(prediction.transfers),
        "exchange_seconds": prediction.exchange,
        "exchange_hidden": prediction.exchange_hidden,
        "predicted_step_seconds": prediction.step,
        "predicted_mfu": 100 * prediction.mfu,
        "predicted_hfu": 100 * prediction.hfu,
        "published_mfu": PUBLISHED_MFU.get(model),
    }


def details(row: dict[str, Any]) -> str:
    """The plan of one layout in full."""
    lines = [f"{row['model']} on {row['pods']} x {row['topology']}, mesh {row['mesh']} (pod x data x model)"]
    if row["vocab_rows"] != row["vocab_size"]:
        lines.append(
            f"{row['mesh'].split('x')[2]} does not divide the vocabulary of {row['vocab_size']:,}: it is "
            f"padded to {row['vocab_rows']:,} rows, and what is beyond is masked."
        )
    lines.append(advice(row))
    if row["collectives"]:
        lines.append(f"\nWhat a device sends in a step:\n{shown_collectives(row['collectives'])}")
    return "\n".join(lines) + "\n"


def candidates(options: Options, topology: Topology) -> list[Run]:
    """Layouts that the mesh divides and that arithmetic says fit, the fastest first."""
    found = []
    for model in range(1, min(topology.devices, 256) + 1):
        for micro_batches in MICRO_BATCHES:
            layout = dataclasses.replace(options, model_parallel=model, micro_batches=micro_batches)
            try:
                run = run_of(layout, topology)
            except InputError:
                continue
            if divides(run) and estimated_gib(run) < topology.chip.hbm_gib:
                found.append(run)
    return sorted(found, key=lambda run: _estimated(run, topology))


def _estimated(run: Run, topology: Topology) -> float:
    return predict(work(run), topology.chip, rings(topology, run.mesh)).step


def divides(run: Run) -> bool:
    """Whether heads and widths can be laid along the mesh."""
    config, mesh = run.decoder, run.mesh
    split = [config.num_heads, config.d_model, config.d_ff]
    sharded = [config.d_model]
    if run.config is not config:
        split += [run.config.encoder_num_heads, run.config.encoder_d_model]
        sharded += [run.config.encoder_d_model]
    return not any(size % mesh.model for size in split) and not any(size % mesh.data for size in sharded)


def searched(options: Options, topology: Topology) -> list[dict[str, Any]]:
    """Rows of the compiled candidates, the recommended first.

    Raises:
      InputError: no layout divides and fits.
    """
    runs = candidates(options, topology)
    if not runs:
        raise InputError(
            f"By arithmetic no layout of {options.model} with a batch of {options.batch} fits {options.pods} "
            f"x {topology}. Give a larger topology, more --pods or a smaller --batch."
        )
    rows = []
    for run in runs:
        rows.append(planned_row(run, topology, options.model, options.artifacts))
        if sum(row["fits"] for row in rows) == COMPILED_BY_SEARCH or len(rows) == 2 * COMPILED_BY_SEARCH:
            break
    rows.sort(key=lambda row: (not row["fits"], row["predicted_step_seconds"]))
    print(f"Of {len(runs)} layouts that may fit, {len(rows)} compiled. Recommended: {recommended(rows[0])}\n")
    return rows


def recommended(row: dict[str, Any]) -> str:
    """The options of a row; or that there is none."""
    if not row["fits"]:
        return "none, for none of those compiled fits."
    model = row["mesh"].split("x")[2]
    return f"--model-parallel {model} --micro-batches {row['micro_batches']}"


def published_rows(artifacts: Path) -> list[dict[str, Any]]:
    """The published runs."""
    rows = []
    for case in PUBLISHED_RUNS:
        topology = parse_topology(case.topology)
        options = Options(case.model, case.topology, case.pods, case.model_parallel, case.batch)
        rows.append(planned_row(run_of(options, topology), topology, case.model, artifacts, case.chips))
        print(details(rows[-1]))
    return rows


def write(options: Options, rows: Sequence[dict[str, Any]]) -> None:
    """results.json, and the document."""
    options.out.mkdir(parents=True, exist_ok=True)
    asked = {
        name: value
        for name, value in dataclasses.asdict(options).items()
        if name not in ("out", "artifacts", "document")
    }
    results = {
        "experiment": "plan",
        "config": {"published": True} if options.published else asked,
        "environment": environment(),
        "assumptions": ASSUMPTIONS,
        "rows": rows,
    }
    write_atomic(options.out / "results.json", json.dumps(results, indent=1))
    if options.document:
        write_atomic(options.document, markdown(results))


if __name__ == "__main__":
    command(plan, Options, "Compile a train step for a TPU topology: does it fit, what is sent, how fast.")
