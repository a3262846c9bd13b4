"""From the results of experiments.parallelism to tables, in the terminal and in docs/parallelism.md, and to a
section of the pages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np

from planning.published_systems import ASSUMPTIONS
from reports.section import Judged, Section, Sentences
from reports.tables import WIDTH, filled, github, plain_table, table_of, terminal
from reports.words import figure

MIB = 2**20
SHOWN = ("all-gather", "all-reduce", "reduce-scatter")


def terminal_tables(results: Mapping) -> str:
    """Plain text: the measured strategies, the published systems, and how to read both."""
    return "\n\n".join(
        [
            _plain(measured(results)),
            fill(legend(results), WIDTH),
            _plain(_published(results)),
            "\n".join(fill(text, WIDTH, subsequent_indent="  ") for text in ASSUMPTIONS),
        ]
    )


def with_tables(text: str, results: Mapping) -> str:
    """`text`, Markdown, with its sections `measured` and `published` filled in anew."""
    environment = results["environment"]
    origin = f"{environment['cores']} cores, commit {environment['commit']}, {environment['date']}."
    assumptions = "\n".join(f"- {text}" for text in ASSUMPTIONS)
    sections = {
        "measured": f"{github(table_of(measured(results)))}\n\n{legend(results)} {origin}",
        "published": f"{github(table_of(_published(results)))}\n\n{assumptions}",
    }
    return filled(text, sections)


def _plain(records: Sequence[Mapping[str, str]]) -> str:
    """Headings broken at every space, so that the table is no wider than a terminal."""
    header = [name.replace(" ", "\n") for name in records[0]]
    return terminal(plain_table("", header, [list(record.values()) for record in records]))


def measured(results: Mapping) -> list[dict[str, str]]:
    """A row per strategy."""
    return [
        {
            "strategy": row["strategy"],
            "mesh": row["mesh"],
            "s per step here": f"{np.median(row['step_seconds']):.2f}",
            "idle": _percent(row["idle_share"]),
            "if stages were equal": _percent(row["idle_share_formula"]),
            "inputs held": _list(row.get("inputs_held")),
            "as scheduled": _list(row.get("inputs_held_formula")),
            "held MiB": _mib(row.get("held_bytes")),
            "temporaries MiB": _mib(row["temporary_bytes"]),
            **{f"{kind} MiB": _mib(row["collective_bytes"][kind]) for kind in SHOWN},
            "of weights MiB": _mib(row["weight_bytes"]),
            "between stages MiB": _mib(row.get("sent_bytes")),
        }
        for row in results["rows"]
    ]


def _published(results: Mapping) -> list[dict[str, str]]:
    return [
        {
            "system": row["system"],
            "chips": f"{row['chips']:,} {row['chip']}",
            "s per step": f"{row['published_step_seconds']:.1f}",
            "bubble": _percent(row["bubble"]),
            "communication": _percent(row["communication"]),
            "MFU published": _percent(row["published_mfu"]),
            "without its bubble": _percent(row["mfu_without_bubble"]),
            "efficiency calibrated": _percent(row["calibrated_efficiency"]),
            "MFU predicted": _percent(row["predicted_mfu"]),
        }
        for row in results["published_systems"]
    ]


def losses_apart(results: Mapping) -> float:
    """By how much of itself a loss differs at most from that of the first strategy."""
    losses = np.array([row["losses"] for row in results["rows"]])
    return float(np.max(np.abs(losses / losses[0] - 1)))


def legend(results: Mapping) -> str:
    """What was trained, and how to read `measured`."""
    config = results["config"]
    return (
        f"{config['model']} of {config['layers']} layers, a batch of {config['batch_size']} sequences of "
        f"{config['length']} tokens, for pipelines in {config['micro_batches']} micro-batches; losses agree "
        f"to {losses_apart(results):.0e}. All devices share these cores, so seconds per step say nothing of "
        "speed on devices of their own. Idle: from each stage's forward and backward pass, timed alone and "
        "put through the schedule; beside it the share for equal stages. Inputs held: micro-batches per "
        "stage, the most while it ran; beside it the schedule's. MiB are per device, of the one with the "
        "most: inputs held, the compiler's temporaries, what a step's collectives send over a ring, how much "
        "of that is weights and their gradients, and what other stages send: activations and their gradients."
    )


@dataclass(frozen=True, kw_only=True)
class JudgedStrategies(Judged):
    """idle: the share of a step in which devices idle, by strategy. apart: of `losses_apart`."""

    idle: Mapping[str, float]
    apart: float


def judged(results: Mapping[str, Any]) -> JudgedStrategies:
    """How much the strategies idle, and whether they train the same model."""
    idle = {row["strategy"]: row["idle_share"] for row in results["rows"]}
    return JudgedStrategies(results=results, idle=idle, apart=losses_apart(results))


def sentences(judged: JudgedStrategies) -> Sentences:
    """What that allows one to say."""
    config, idle = judged.results["config"], ", ".join(f"{name} {x:.0%}" for name, x in judged.idle.items())
    sentence = (
        f"Share of a step in which devices idle: {idle}; the losses of all agree to {judged.apart:.0e}."
    )
    return Sentences(
        judged=judged,
        title="With a pipeline and without",
        subject=f"{config['model']} of {config['layers']} layers",
        question="Who waits, who holds what, and what is sent, when one model is cut into stages?",
        brief=(sentence,),
        legend=legend(judged.results),
    )


def laid_out(name: str, sentences: Sentences) -> Section:
    """The sentences with the table of strategies."""
    return Section(
        name=name,
        sentences=sentences,
        tables=(table_of(measured(sentences.judged.results), "Strategies"),),
        links={"what to read in it": "docs/parallelism.md"},
    )


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _list(numbers: list[int] | None) -> str:
    return " ".join(map(str, numbers)) if numbers else "–"


def _mib(count: int | None) -> str:
    return figure(count and count / MIB, ".2f")
