"""Will it fit, and how fast would it be? The real train step compiled for a TPU topology, without a TPU.

python -m experiments.plan palm/540b --topology v4:12x16x16 --pods 2 --model-parallel 12 --batch 2048
python -m experiments.plan --published --out experiments/results/plan --document docs/plan.md

The step is that of `parallelism.strategies.spmd`, in the precision and with the optimiser of the paper, all
activations rematerialised. The compiler says whether it fits and what is sent; planning/roofline.py predicts
its time. `--search` tries layouts by arithmetic, compiles the best of them and recommends one.

PaLM's 540B takes a minute and a half on two cores, the published runs 2 to 7 minutes each. Must reach: 540B
fits with 11.4 GiB of 30.75 and is predicted 48.2 % MFU; PaLM reached 46.2 % (docs/plan.md).
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from command import command
from errors import InputError
from planning.plans import Request, planned_row, published_rows, run_of
from planning.roofline import ASSUMPTIONS
from planning.search import candidates, compiled, recommended
from planning.topologies import expect_no_tpu, parse_topology
from reports.systems.plan import advice, markdown, shown_collectives, shown_row
from reports.tables import table_of, terminal
from storage.files import write_atomic
from studies.results_file import write_results


@dataclass(frozen=True)
class Options(Request):
    """What is planned, and where that is written."""

    model: Annotated[str, tyro.conf.Positional] = "palm/540b"
    """FAMILY/SIZE, such as palm/540b."""
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
    rows = published(options) if options.published else asked_for(options)
    print(terminal(table_of([shown_row(row) for row in rows], form=".3g")))
    print("\nPredicted, not measured. " + " ".join(ASSUMPTIONS))
    write(options, rows)


def published(options: Options) -> list[dict[str, Any]]:
    """The published runs, each printed when it is planned."""
    rows = []
    for row in published_rows(options.artifacts):
        print(details(row))
        rows.append(row)
    return rows


def asked_for(options: Options) -> list[dict[str, Any]]:
    """The layout that the options give, or those of --search, the recommended one first; that is printed."""
    topology = parse_topology(options.topology)
    if options.search:
        runs = candidates(options, topology)
        rows = compiled(runs, topology, options.model, options.artifacts)
        print(f"Of {len(runs)} layouts that may fit, {len(rows)} compiled.", end=" ")
        print(f"Recommended: {recommended(rows[0])}\n")
    else:
        rows = [planned_row(run_of(options, topology), topology, options.model, options.artifacts)]
    print(details(rows[0]))
    return rows


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


def write(options: Options, rows: Sequence[dict[str, Any]]) -> None:
    """results.json, and the document."""
    config = {
        name: value
        for name, value in dataclasses.asdict(options).items()
        if name not in ("out", "artifacts", "document")
    }
    content = {
        "config": {"published": True} if options.published else config,
        "assumptions": ASSUMPTIONS,
        "rows": rows,
    }
    results = write_results(options.out / "results.json", "plan", content)
    if options.document:
        write_atomic(options.document, markdown(results))


if __name__ == "__main__":
    command(plan, Options, "Compile a train step for a TPU topology: does it fit, what is sent, how fast.")
