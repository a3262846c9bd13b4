"""The table of one study, in the terminal and for the pages, of the same texts."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from textwrap import fill, wrap

from judging.null_check import null_check
from judging.rows import JudgedRow, judge
from reports.study.columns import legend, notes, null_sentence, texts, usual_reference, with_intervals
from reports.tables import WIDE, Cell, Table, terminal

NAME_WIDTH, VERDICT_WIDTH = 22, 25
# Heading → what stands below each other in its cells, in Markdown and on the page.
COLUMNS = {
    "row": ("row", "against"),
    "bits per byte": ("bits per byte", "interval"),
    "difference": with_intervals("difference"),
    "detectable": ("detectable",),
    "beyond another's difference": (*with_intervals("interaction"), "interaction of"),
    "verdict": ("verdict", "margin"),
    "q": ("q",),
    "without near-duplicates": ("apart",),
    "without one group": ("decided by",),
    "would decide": ("needed",),
    "the paper": ("paper", "source"),
    "gain on − off": with_intervals("gain"),
    "gain without near-duplicates": with_intervals("gain apart"),
    "gain − that of its reference": with_intervals("gain − its"),
    "parameters": ("parameters",),
    "training FLOPs": ("train FLOPs",),
    "tokens/s": ("tokens/s",),
    "MiB": ("MiB",),
}


def print_table(results: Mapping, out: Path) -> None:
    """The table in the terminal, and where its results lie."""
    print(terminal_table(results))
    print(f"\n{out / 'results.json'}")


def terminal_table(results: Mapping) -> str:
    """Plain text of at most WIDE columns: groups, two lines or more per row, notes, null check, legend."""
    rows = judge(results)
    usual, gains = usual_reference(rows), any(row.gain for row in rows)
    header = ["row", "bits\n/byte", "differ-\nence", "95 % over seeds\nover groups\nover all"]
    header += ["gain\non − off", "95 % over seeds\nover groups\nover all"] if gains else []
    header += ["params\nFLOPs", "tok/s\nMiB", "the paper\nour verdict"]
    groups = tuple(
        (group, tuple(_terminal_row(texts(row, usual), gains) for row in members))
        for group, members in by_group(rows)
    )
    below = [*notes(rows), null_sentence(null_check(results)), legend(rows)]
    table = terminal(Table("", tuple(header), groups))
    return "\n".join([table, "", *(fill(text, WIDE) for text in below if text)])


def _terminal_row(text: Mapping[str, str], gains: bool) -> tuple[Cell, ...]:
    name = wrap(text["row"], NAME_WIDTH, subsequent_indent="  ")
    name += wrap(text["against"], NAME_WIDTH, initial_indent="  ", subsequent_indent="  ")
    paper = wrap(f"Paper: {text['paper']}", VERDICT_WIDTH) if {text["paper"], text["source"]} != {"–"} else []
    cells = [
        name,
        [text["bits per byte"]],
        [text["difference"], text["detectable"]],
        _ends(text, "difference"),
    ]
    if gains:
        cells += [[text["gain"]], _ends(text, "gain")]
    cells += [
        [text["parameters"], text["train FLOPs"]],
        [text["tokens/s"], text["MiB"]],
        paper + wrap(_whole_verdict(text), VERDICT_WIDTH),
    ]
    return tuple(map(tuple, cells))


def _ends(text: Mapping[str, str], name: str) -> list[str]:
    """The intervals of a comparison, that over draws where there is one."""
    seeds, groups, draws, every = (text[column] for column in with_intervals(name)[1:])
    return [seeds, groups, every] if draws == "–" else [seeds, groups, draws, every]


def _whole_verdict(text: Mapping[str, str]) -> str:
    """The verdict with what it is on and what it hangs on, as far as there is anything to say."""
    said = {
        "margin": "{}", "interaction": f"{{}} {text['interaction of']}", "q": "q {}",
        "apart": "without near-duplicates: {}", "decided by": "{}", "needed": "would decide: {}",
    }  # fmt: skip
    parts = [form.format(text[name]) for name, form in said.items() if text[name] not in ("–", "the same")]
    return "; ".join([text["verdict"], *parts])


def full_table(rows: Sequence[JudgedRow]) -> Table:
    """What Markdown and the page show. A column in which no row has anything is left out."""
    usual = usual_reference(rows)
    shown = {row.name: texts(row, usual) for row in rows}
    columns = {
        title: names
        for title, names in COLUMNS.items()
        if any(text[names[0]] != "–" for text in shown.values())
    }
    groups = tuple(
        (group, tuple(tuple(_cell(shown[row.name], names) for names in columns.values()) for row in members))
        for group, members in by_group(rows)
    )
    return Table("Every row", tuple(columns), groups)


def _cell(text: Mapping[str, str], names: Sequence[str]) -> Cell:
    """The texts of one cell of the table, those left out that say nothing."""
    return (text[names[0]], *(text[name] for name in names[1:] if text[name] not in ("–", "")))


def by_group(rows: Sequence[JudgedRow]) -> list[tuple[str, list[JudgedRow]]]:
    """Groups in the order in which they first occur, their rows in the file's."""
    order = list(dict.fromkeys(row.row["group"] for row in rows))
    ordered = sorted(rows, key=lambda row: order.index(row.row["group"]))
    return [(group, list(members)) for group, members in groupby(ordered, key=lambda row: row.row["group"])]
