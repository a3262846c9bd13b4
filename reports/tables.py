"""Tables of texts, as Markdown and in the terminal; a page shows them by templates/macros.html.j2."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from markupsafe import Markup
from tabulate import tabulate

from progress import printable

Cell = tuple[str, ...]  # texts that stand below each other, the first large
WIDTH, WIDE = 110, 130  # columns of a terminal
PROSE = ("the paper", "verdict", "command", "a is", "chips, as published")


@dataclass(frozen=True)
class Table:
    """groups: rows by the heading that stands above them; an empty heading shows as none. A line break in a
    text says where the terminal may end a line; elsewhere it is a space.
    """

    title: str
    header: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[Cell, ...], ...]], ...]

    @property
    def prose(self) -> list[bool]:
        """Which columns are of words, and may be wrapped on a page."""
        return [title in PROSE for title in self.header]


def plain_table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A table without groups, of one text a cell."""
    body = tuple(tuple((str(text),) for text in row) for row in rows)
    return Table(title, tuple(header), (("", body),))


def table_of(records: Sequence[Mapping[str, Any]], title: str = "", form: str = "") -> Table:
    """A table of records; a field that a record lacks is left empty. form: how floats are written."""
    header = list(dict.fromkeys(name for record in records for name in record))
    text = lambda value: format(value, form) if isinstance(value, float) else value
    return plain_table(title, header, [[text(record.get(name, "")) for name in header] for record in records])


def github(table: Table) -> Markup:
    """As Markdown; a group's heading is a row of its own."""
    lines = []
    for heading, rows in table.groups:
        if heading:
            lines.append([f"**{_escaped(heading)}**"] + [""] * (len(table.header) - 1))
        lines += [["<br>".join(map(_escaped, cell)) for cell in row] for row in rows]
    header = list(map(_escaped, table.header))
    return Markup(tabulate(lines, header, tablefmt="github", disable_numparse=True))


def _escaped(text: str) -> str:
    """No character of a name ends a cell or a line, or starts a tag."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def terminal(table: Table, right: Collection[str] = ()) -> str:
    """Plain text: the header above a rule, a group's heading above its rows, a cell's texts below each other.
    What a terminal would obey is escaped.

    Args:
        right: the columns that end at the right.
    """
    rows = [tuple(printable("\n".join(cell)) for cell in row) for _, group in table.groups for row in group]
    # As a row of its own the header escapes tabulate's padding, which would cost two columns for every cell.
    lines = iter(
        tabulate(
            [table.header, *rows], tablefmt="plain", disable_numparse=True, preserve_whitespace=True,
            colalign=["right" if title in right else "left" for title in table.header],
        ).splitlines()
    )  # fmt: skip
    header, body, following = _lines_of(table.header, lines), [], iter(rows)
    for heading, members in table.groups:
        body += [printable(f"{heading}:", kept="")] if heading else []
        body += [line for row in islice(following, len(members)) for line in _lines_of(row, lines)]
    return "\n".join([*header, "-" * max(map(len, header + body)), *body])


def _lines_of(row: Sequence[str], lines: Iterator[str]) -> list[str]:
    """The next lines of a table, as many as its row has."""
    return list(islice(lines, 1 + max(text.count("\n") for text in row)))


def filled(text: str, sections: Mapping[str, str]) -> str:
    """Markdown with what stands between `<!-- NAME -->` or `<!-- NAME: … -->` and `<!-- end -->` replaced."""
    for name, content in sections.items():
        place = rf"(<!-- {name}(?:: [^\n]*)? -->\n).*?(?=<!-- end -->)"
        keep, new = r"\g<1>", content.replace("\\", r"\\")  # a backslash names no group
        text = re.sub(place, f"{keep}{new}\n", text, flags=re.DOTALL)
    return text
