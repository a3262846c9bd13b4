"""The table of one ablation, in the terminal and for the pages.

Both take their cells from `cells`, so that none says more than another.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from textwrap import fill, wrap

import numpy as np
from tabulate import tabulate

from judging.intervals import Comparison, Interval
from judging.verdicts import (
    DIVERGED,
    EQUAL_WITHIN,
    FAILED,
    REFERENCE,
    JudgedRow,
    NullCheck,
    better_or_worse,
    judge,
    null_check,
)
from reports.tables import Cell, Table
from reports.words import bits, bounds, count, signed

WIDTH, NAME_WIDTH, VERDICT_WIDTH = 130, 22, 25
MIB = 2**20
INTERVALS = (
    "Intervals are 95 %: Student's t over seeds above, bootstrap over documents below. A verdict needs both "
    f"to exclude zero; equal is what has both within ±{EQUAL_WITHIN:g} bits per byte. ±: the larger "
    "half-width of the two; a smaller difference could not have been told from zero."
)
GAIN = "Gain: the same model with its neighbours − without."


def usual(judged: Sequence[JudgedRow]) -> str:
    """What most rows are against, if that is one row: it is named once, and others below their rows."""
    against = [row.row["against"] for row in judged if row.row["against"] is not None]
    most = max(against, key=against.count, default="")
    return most if 2 * against.count(most) > len(against) else ""


def reading(judged: Sequence[JudgedRow]) -> str:
    """How to read the table."""
    against = ""
    if any(row.difference for row in judged):
        most = f"{usual(judged)}, or − " if usual(judged) else ""
        against = (
            f"Differences are row − {most}what is named below the row, paired by seed, batch and document. "
        )
    gains = f" {GAIN}" if any(row.gain for row in judged) else ""
    return f"Less is better. {against}{INTERVALS}{gains}"


def cells(judged: JudgedRow, usual: str) -> dict[str, str]:
    """The text of every column for one row; a dash where there is nothing to say."""
    row, difference, gain = judged.row, judged.difference, judged.gain
    done = [cell for cell in row["cells"] if cell["status"] == "finished"]
    paper = row["paper"] or {}
    return {
        "row": row["name"],
        "against": "" if row["against"] in (None, usual) else f"− {row['against']}",
        "bits per byte": bits(judged.bits_per_byte),
        "interval": _bounds(judged.interval, bits),
        "difference": _mean(difference),
        "over seeds": _bounds(difference and difference.over_seeds),
        "over documents": _bounds(difference and difference.over_documents),
        "could see": "–" if judged.detectable is None else f"±{judged.detectable:.4f}",
        "gain": _mean(gain),
        "gain over seeds": _bounds(gain and gain.over_seeds),
        "gain over documents": _bounds(gain and gain.over_documents),
        "gain apart": _mean(judged.gain_apart),
        "gain apart over seeds": _bounds(judged.gain_apart and judged.gain_apart.over_seeds),
        "gain apart over documents": _bounds(judged.gain_apart and judged.gain_apart.over_documents),
        "gain − its": _mean(judged.gain_difference),
        "gain − its over seeds": _bounds(judged.gain_difference and judged.gain_difference.over_seeds),
        "gain − its over documents": _bounds(
            judged.gain_difference and judged.gain_difference.over_documents
        ),
        "parameters": count(row["parameters"]),
        "train tokens": count(row["train_tokens"]),
        "train FLOPs": f"{row['train_flops']:.1e}".replace("+", ""),
        "tokens/s": _number(done, "tokens_per_second", np.mean, "{:,.0f}"),
        "MFU": _number(done, "mfu", np.mean, "{:.0%}"),
        "MiB": _number(done, "peak_bytes", lambda sizes: max(sizes) / MIB, "{:,.0f}"),
        "paper": paper.get("figure") or "–",
        "source": paper.get("source") or "–",
        "verdict": said(judged),
    }


def said(judged: JudgedRow) -> str:
    """The verdict; for a row whose seeds did not all finish, how many did not and their last word; and what
    its neighbours do for a row that is compared with none.
    """
    text = judged.verdict
    for kind in (DIVERGED, FAILED):
        lost = [cell for cell in judged.row["cells"] if cell["status"] == kind]
        if lost:
            counted = f"{len(lost)} of {len(judged.row['cells'])} seeds{_last_word(lost)}"
            text = f"{kind}: {counted}" if text == kind else f"{text}; {kind}: {counted}"
    if judged.gain_verdict and judged.gain_verdict != judged.verdict:
        text += f"; by the gain: {judged.gain_verdict} ({_mean(judged.gain_difference)})"
    if judged.verdict == REFERENCE and judged.gain:
        text = text.replace(REFERENCE, f"with its neighbours: {better_or_worse(judged.gain)}", 1)
    return text


def _last_word(lost: Sequence[Mapping]) -> str:
    losses = [cell["last_finite"]["nats"] for cell in lost if cell["last_finite"]]
    reasons = dict.fromkeys(cell["reason"] for cell in lost if cell["reason"])
    last = f", last finite loss {max(losses):.2f} nats" if losses else ""
    return last + (f" ({'; '.join(reasons)})" if reasons else "")


def print_table(results: Mapping, out: Path) -> None:
    """The table in the terminal, and where its results lie."""
    print(terminal_table(results))
    print(f"\n{out / 'results.json'}")


def terminal_table(results: Mapping) -> str:
    """Plain text of at most WIDTH columns: groups, two lines or more per row, notes, null check, how to
    read.
    """
    judged = judge(results)
    gains = any(row.gain for row in judged)
    header = ["row", "bits\n/byte", "differ-\nence", "95 % over seeds\nover documents"]
    header += ["gain\non − off", "95 % over seeds\nover documents"] if gains else []
    header += ["params\nFLOPs", "tok/s\nMiB", "the paper\nour verdict"]
    groups = by_group(judged)
    rows = [_terminal_row(row, usual(judged), gains) for _, members in groups for row in members]
    # As a row of its own the header escapes tabulate's padding.
    lines = iter(
        tabulate(
            [header, *rows], tablefmt="plain", disable_numparse=True, preserve_whitespace=True
        ).splitlines()
    )
    heading, body = _lines_of(header, lines), []
    each = iter(rows)
    for group, members in groups:
        body.append(f"{group}:")
        body += [line for _, row in zip(members, each) for line in _lines_of(row, lines)]
    rule = "-" * max(map(len, heading + body))
    told = [*notes(judged), null_sentence(null_check(results)), reading(judged)]
    return "\n".join([*heading, rule, *body, "", *(fill(text, WIDTH) for text in told if text)])


def _lines_of(row: Sequence[str], lines: Iterator[str]) -> list[str]:
    """The next lines of a table, as many as its row has."""
    return list(islice(lines, 1 + max(text.count("\n") for text in row)))


def _terminal_row(judged: JudgedRow, usual: str, gains: bool) -> list[str]:
    cell = cells(judged, usual)
    verdict = wrap(f"Paper: {cell['paper']}", VERDICT_WIDTH) if judged.row["paper"] else []
    name = wrap(cell["row"], NAME_WIDTH, subsequent_indent="  ")
    name += wrap(cell["against"], NAME_WIDTH, initial_indent="  ", subsequent_indent="  ")
    columns = [
        name,
        [cell["bits per byte"]],
        [cell["difference"], cell["could see"]],
        [cell["over seeds"], cell["over documents"]],
    ]
    if gains:
        columns += [[cell["gain"]], [cell["gain over seeds"], cell["gain over documents"]]]
    columns += [
        [cell["parameters"], cell["train FLOPs"]],
        [cell["tokens/s"], cell["MiB"]],
        verdict + wrap(cell["verdict"], VERDICT_WIDTH),
    ]
    return ["\n".join(column) for column in columns]


def full_table(judged: Sequence[JudgedRow]) -> Table:
    """What Markdown and the page show."""
    columns = table_columns(judged)
    groups = [
        (
            group,
            tuple(
                tuple(stacked(cells(row, usual(judged)), names) for names in columns.values()) for row in rows
            ),
        )
        for group, rows in by_group(judged)
    ]
    return Table("Every row", tuple(columns), tuple(groups))


def table_columns(judged: Sequence[JudgedRow]) -> dict[str, tuple[str, ...]]:
    """Heading → what stands below each other in its cells, in Markdown and on the page. What no row has is
    left out.
    """
    columns = {
        "row": ("row", "against"),
        "bits per byte": ("bits per byte", "interval"),
        "difference": ("difference", "over seeds", "over documents"),
        "could see": ("could see",),
        "verdict": ("verdict",),
        "the paper": ("paper", "source"),
        "gain on − off": ("gain", "gain over seeds", "gain over documents"),
        "gain without near-duplicates": ("gain apart", "gain apart over seeds", "gain apart over documents"),
        "gain − that of its reference": ("gain − its", "gain − its over seeds", "gain − its over documents"),
        "parameters": ("parameters",),
        "training FLOPs": ("train FLOPs",),
        "tokens/s": ("tokens/s",),
        "MiB": ("MiB",),
    }
    found = [cells(row, usual(judged)) for row in judged]
    return {title: names for title, names in columns.items() if any(cell[names[0]] != "–" for cell in found)}


def stacked(cell: Mapping[str, str], names: Sequence[str]) -> Cell:
    """The texts of one cell of the table, those left out that say nothing."""
    return (cell[names[0]], *(cell[name] for name in names[1:] if cell[name] not in ("–", "")))


def by_group(judged: Sequence[JudgedRow]) -> list[tuple[str, list[JudgedRow]]]:
    """Groups in the order in which they first occur, their rows in the file's."""
    order = list(dict.fromkeys(row.row["group"] for row in judged))
    ordered = sorted(judged, key=lambda row: order.index(row.row["group"]))
    return [(group, list(rows)) for group, rows in groupby(ordered, key=lambda row: row.row["group"])]


def notes(judged: Sequence[JudgedRow]) -> list[str]:
    """What there is to know about rows: how they were tuned, and every seed that did not finish."""
    told = {row.name: [row.row["note"], *row.incidents] for row in judged}
    return [f"{name}: {'; '.join(filter(None, texts))}" for name, texts in told.items() if any(texts)]


def null_sentence(check: NullCheck | None) -> str:
    """What came of the published form against itself; empty where it was not checked."""
    if check is None:
        return ""
    return (
        f"Null check: {check.of} against itself under other seeds, {check.seeds} against {check.seeds}, "
        f"comes out as “cannot tell” in {check.cannot_tell} of {check.draws} draws; half of them could have "
        f"seen a difference of {check.detectable:.4f} bits per byte."
    )


def _mean(difference: Comparison | None) -> str:
    return "–" if difference is None else signed(difference.mean)


def _bounds(interval: Interval | None, number=signed) -> str:
    return bounds(interval and [interval.low, interval.high], number)


def _number(cells: Sequence[Mapping], name: str, together, form: str) -> str:
    measured = [cell[name] for cell in cells if cell[name] is not None]
    return form.format(together(measured)) if measured else "–"
