"""A plan in words and tables: in the terminal, in docs/plan.md, and as a section of the pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.section import Judged, Section, Sentences
from reports.tables import github, table_of, terminal

STAGES = 4  # Gopher's pipeline ran across its four pods
MICRO_BATCHES = (4, 8, 16)


def advice(row: Mapping[str, Any]) -> str:
    """Whether it fits, and what to change where it does not."""
    of = (
        f"{row['peak_gib']:.1f} GiB of {row['hbm_gib']:.2f} ({row['arguments_gib']:.1f} of state and "
        f"{row['temporaries_gib']:.1f} of temporaries)"
    )
    if row["fits"]:
        return f"It fits: {of} per device. Compiled in {row['compile_seconds']:.0f} s."
    over = row["peak_gib"] - row["hbm_gib"]
    state = (
        "State alone takes most of it: more chips or more --model-parallel."
        if row["arguments_gib"] > row["hbm_gib"] / 2
        else "Give more --model-parallel (activations and logits are split over it), more --micro-batches "
        "(fewer rows at a time), or a smaller --batch; --search tries the first two."
    )
    return f"It does not fit: {of} per device, {over:.1f} GiB too much. {state}"


def shown_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of the terminal's table."""
    sent = {"ICI": 0.0, "DCN": 0.0}
    for one in row["collectives"]:
        sent[one["network"]] += one["bytes"]
    return {
        "model": row["model"],
        "chips": f"{row['pods']} x {row['topology']}",
        "mesh": row["mesh"],
        "micro-batches": row["micro_batches"],
        "fits": "yes" if row["fits"] else "no",
        "GiB": row["peak_gib"],
        "of": row["hbm_gib"],
        "compile s": row["compile_seconds"],
        "ICI GB": sent["ICI"] / 1e9,
        "DCN GB": sent["DCN"] / 1e9,
        "step s": row["predicted_step_seconds"],
        "MFU %": row["predicted_mfu"],
        "published": row["published_mfu"],
    }


def shown_collectives(rows: Sequence[Mapping[str, Any]]) -> str:
    """Kinds by bytes; counts are per step."""
    records = [
        {
            "kind": row["kind"],
            "network": row["network"],
            "along": row["axes"],
            "count": row["count"],
            "MB": f"{row['bytes'] / 1e6:,.1f}",
        }
        for row in rows
    ]
    return terminal(table_of(records), right=("count", "MB"))


def pipelined(mfu: float, micro_batches: int, stages: int = STAGES) -> float:
    """An MFU with the bubble of a pipeline on top: (p − 1)/(m + p − 1) of the step."""
    return mfu * micro_batches / (micro_batches + stages - 1)


def plans(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per run: whether it fits, how fast it is predicted to be, what was published."""
    return [
        {
            "model": row["model"],
            "chips": f"{row['chips']} ({row['pods']} x {row['topology']})",
            "mesh": row["mesh"],
            "batch": row["batch"],
            "GiB per device": f"{row['peak_gib']:.1f} of {row['hbm_gib']:.2f}",
            "fits": "yes" if row["fits"] else "no",
            "compiled in": f"{row['compile_seconds']:.0f} s",
            "step": f"{row['predicted_step_seconds']:.1f} s",
            "MFU": f"{row['predicted_mfu']:.1f} %",
            "published": f"{row['published_mfu']} %" if row["published_mfu"] else "",
            "chips, as published": row["chips_note"],
        }
        for row in results["rows"]
    ]


@dataclass(frozen=True, kw_only=True)
class JudgedPlans(Judged):
    """fit: how many train steps fit their chips. beside_published: the rows whose MFU was published."""

    fit: int
    beside_published: tuple[Mapping[str, Any], ...]


def judged(results: Mapping[str, Any]) -> JudgedPlans:
    """What fits, and what can be compared."""
    rows = results["rows"]
    return JudgedPlans(
        results=results,
        fit=sum(row["fits"] for row in rows),
        beside_published=tuple(row for row in rows if row["published_mfu"]),
    )


def sentences(judged: JudgedPlans) -> Sentences:
    """What that allows one to say."""
    mfus = "; ".join(
        f"{row['model']} {row['predicted_mfu']:.1f} %, published {row['published_mfu']} %"
        for row in judged.beside_published
    )
    steps = len(judged.results["rows"])
    return Sentences(
        judged=judged,
        title="The published runs, planned",
        subject="compiled ahead of time, on a machine without TPUs",
        question="Do the papers' train steps fit their pods, and how fast would they be?",
        brief=(f"{judged.fit} of {steps} train steps fit their chips. MFU predicted: {mfus}.",),
        notes=tuple(judged.results["assumptions"]),
    )


def laid_out(name: str, sentences: Sentences) -> Section:
    """The sentences with the table of runs."""
    return Section(
        name=name,
        sentences=sentences,
        tables=(table_of(plans(sentences.judged.results), "Runs"),),
        links={"where a step goes": "docs/plan.md"},
    )


def markdown(results: Mapping[str, Any]) -> str:
    """docs/plan.md."""
    rows = results["rows"]
    times = [
        {
            "model": row["model"],
            "compute": f"{row['compute_seconds']:.2f}",
            "memory": f"{row['memory_seconds']:.2f}",
            **{f"over {axis}": f"{row['transfer_seconds'].get(axis, 0.0):.2f}" for axis in ("model", "data")},
            "between pods": f"{row['exchange_seconds']:.2f}" if row["exchange_seconds"] else "",
            "of it hidden": f"{row['exchange_hidden']:.0%}" if row["exchange_seconds"] else "",
        }
        for row in rows
    ]
    gopher = next(row for row in rows if row["model"] == "gopher/280b")
    with_bubble = ", ".join(f"{pipelined(gopher['predicted_mfu'], m):.1f} % with {m}" for m in MICRO_BATCHES)
    listed = "\n".join(f"- {line}" for line in results["assumptions"])
    return f"""# The published runs, planned

Made by `python -m experiments.plan --published --out experiments/results/plan --document docs/plan.md`
({results["environment"]["date"]}, commit {results["environment"]["commit"]}), which compiles every train
step for its topology on a machine without a TPU. Memory and bytes are the compiler's; times and MFU are
predicted from them, MFU of FLOPs as the papers count them.

{github(table_of(plans(results)))}

A device is a chip, on v3 a core. The mesh is pod x data x model.

## Where a predicted step goes, in seconds

{github(table_of(times))}

## Assumptions

{listed}

Gopher's own system ran a pipeline of {STAGES} stages across its pods, which ours does not need. With its
bubble, our prediction of {gopher["predicted_mfu"]:.1f} % would be {with_bubble} micro-batches.
How many there were is not published; the system reached {gopher["published_mfu"]} %.
"""
