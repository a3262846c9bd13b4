"""Will it fit, and how fast would it be? The real train step compiled for a TPU topology, without a TPU.

    python -m experiments.plan palm/540b --topology v4:12x16x16 --pods 2 --model-parallel 12 --batch 2048

The step is that of `parallelism.strategies.spmd`, in the precision and with the optimiser of the paper, all
activations rematerialised. The compiler says whether it fits and what is sent; planning/roofline.py says what
that would take. `--search` tries layouts by arithmetic, compiles the best of them and recommends one.
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

from command import command
from errors import InputError
from models.families import configuration, family_of
from planning.ahead_of_time import planned
from planning.plans import PUBLISHED_RUNS, _estimated, divides, planned_row
from planning.roofline import ASSUMPTIONS
from planning.topologies import Topology, expect_no_tpu, mesh_shape, parse_topology
from planning.workload import Run, estimated_gib
from reports.systems.plan import advice, markdown, shown_collectives, shown_row
from storage.files import write_atomic
from studies.environment import environment

COMPILED_BY_SEARCH = 3
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
    precision = family_of(config).precision
    return planned(Run(config, shape, options.batch, options.length, options.micro_batches, precision))


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
