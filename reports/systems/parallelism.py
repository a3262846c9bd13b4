"""From the results of experiments.parallelism to tables, in the terminal and in docs/parallelism.md."""

import re
from collections.abc import Mapping
from textwrap import fill
from typing import Any

import numpy as np
from tabulate import tabulate

from planning.published_systems import ASSUMPTIONS

WIDTH, MIB = 110, 2**20
SHOWN = ("all-gather", "all-reduce", "reduce-scatter")
SECTION = r"(<!-- {name} -->\n).*?(<!-- end -->)"


def terminal_tables(results: Mapping) -> str:
    """Plain text: the measured strategies, the published systems, and how to read both."""
    return "\n\n".join(
        [
            _plain(measured(results)),
            fill(reading(results), WIDTH),
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
        "measured": f"{_github(measured(results))}\n\n{reading(results)} {origin}",
        "published": f"{_github(_published(results))}\n\n{assumptions}",
    }
    for name, section in sections.items():
        text = re.sub(
            SECTION.format(name=name), lambda m, s=section: f"{m[1]}{s}\n{m[2]}", text, flags=re.DOTALL
        )
    return text


def _plain(rows: list[dict[str, Any]]) -> str:
    """Headings broken at every space, so that the table is no wider than a terminal."""
    broken = [{name.replace(" ", "\n"): cell for name, cell in row.items()} for row in rows]
    return tabulate(broken, headers="keys", disable_numparse=True)


def _github(rows: list[dict[str, Any]]) -> str:
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)


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


def reading(results: Mapping) -> str:
    """What was trained, and how to read `measured`."""
    config, losses = results["config"], np.array([row["losses"] for row in results["rows"]])
    apart = np.max(np.abs(losses / losses[0] - 1))
    return (
        f"{config['model']} of {config['layers']} layers, a batch of {config['batch_size']} sequences of "
        f"{config['length']} tokens, for pipelines in {config['micro_batches']} micro-batches; losses agree "
        f"to {apart:.0e}. All devices share these cores, so seconds per step say nothing of speed on devices "
        "of their own. Idle: from each stage's forward and backward pass, timed alone and put through the "
        "schedule; beside it the share for equal stages. Inputs held: micro-batches per stage, the most "
        "while it ran; beside it the schedule's. MiB are per device, of the one with the most: inputs held, "
        "the compiler's temporaries, what a step's collectives send over a ring, how much of that is weights "
        "and their gradients, and what other stages send: activations and their gradients."
    )


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _list(numbers: list[int] | None) -> str:
    return " ".join(map(str, numbers)) if numbers else "–"


def _mib(count: int | None) -> str:
    return "–" if count is None else f"{count / MIB:.2f}"
