"""A table of texts that Markdown and HTML show alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from tabulate import tabulate

Cell = tuple[str, ...]  # texts that stand below each other, the first large


@dataclass(frozen=True)
class Table:
    """groups: rows by the heading that stands above them; an empty heading shows as none."""

    title: str
    header: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[Cell, ...], ...]], ...]


def plain_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table without groups, of texts in which a line may end."""
    one_line = lambda text: " ".join(str(text).split())
    body = tuple(tuple((one_line(text),) for text in row) for row in rows)
    return Table(title, tuple(map(one_line, header)), (("", body),))


def table_of(title: str, records: Sequence[Mapping[str, str]]) -> Table:
    """A table of records with the same fields."""
    return plain_table(title, list(records[0]), [list(record.values()) for record in records])


def github(table: Table) -> Markup:
    """As Markdown; a group's heading is a row of its own."""
    lines = []
    for heading, rows in table.groups:
        if heading:
            lines.append([f"**{_escaped(heading)}**"] + [""] * (len(table.header) - 1))
        lines += [["<br>".join(map(_escaped, cell)) for cell in row] for row in rows]
    return Markup(tabulate(lines, list(table.header), tablefmt="github", disable_numparse=True))


def _escaped(text: str) -> str:
    """No character of a name ends a cell or a line, or starts a tag."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
