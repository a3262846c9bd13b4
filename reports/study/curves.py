"""What a results file holds beside single rows: curves of rows that differ in one fact alone, such as how
much they had read or how large the database was; laws through the budgets of a scaling experiment; and what
retrieval adds on different blocks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from judging.documents import documents_of
from judging.intervals import Comparison
from judging.rows import JudgedRow, gain_interaction, interaction
from judging.scaling_law import ScalingFit, fit_scaling
from judging.table import losses
from reports.forms import form_name
from reports.words import count, flops

# Rows that evaluate the same trials differ in one of these.
AXES = {
    "tokens": "training tokens",
    "k": "neighbours at evaluation",
    "database": "share of the database",
    "length": "tokens of a sequence at evaluation",
    "parameters": "parameters",
}


def axis_value(axis: str, x: float) -> str:
    """A point's place on `axis`, as it is written."""
    return {"database": f"{100 * x:g} %", "length": f"{x:,}"}.get(axis) or count(x)


@dataclass(frozen=True)
class Point:
    """value: bits per byte, or the mean of `difference` where it is one."""

    x: float
    value: float
    difference: Comparison | None
    row: JudgedRow


@dataclass(frozen=True)
class Curve:
    label: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Curves:
    """Curves that share an axis, a key of AXES, and what is measured, a key of MEASURED."""

    axis: str
    measured: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Scaled:
    """The points of one kind of model over budgets, and their law, None on fewer than three budgets."""

    label: str
    rows: tuple[JudgedRow, ...]
    fit: ScalingFit | None


def curves(judged: Sequence[JudgedRow]) -> list[Curves]:
    """Every curve of two points or more, by axis and by what is measured."""
    rows = {row.name: row for row in judged}
    by_axis = []
    for axis in AXES:
        lines = _lines(judged, axis)
        for measured in DRAWN[axis]:
            drawn = [_curve(label, line, axis, MEASURED[measured], rows) for label, line in lines.items()]
            if drawn := [curve for curve in drawn if len(curve.points) > 1]:
                by_axis.append(Curves(axis, measured, tuple(drawn)))
    return by_axis


def _lines(judged: Sequence[JudgedRow], axis: str) -> dict[str, list[JudgedRow]]:
    """The rows of each curve by its name: those that evaluate the same trials, and differ from the first of
    them in `axis` alone. For parameters, the trained rows of one kind and budget.
    """
    lines: dict[str, list[JudgedRow]] = {}
    if axis == "parameters":
        for row in _budgeted(judged):
            lines.setdefault(f"{kind(row)}, {flops(row.row['facts']['budget'])} FLOPs", []).append(row)
        return lines
    for first, *others in _read_alike(judged):
        if axis in first.row["facts"]:
            lines[first.name] = [first, *(row for row in others if _differing(first, row) == [axis])]
    return lines


def trained(judged: Sequence[JudgedRow]) -> list[JudgedRow]:
    """The first row of all that evaluate the same trials."""
    return [first for first, *_ in _by_trials(judged)]


def _by_trials(judged: Sequence[JudgedRow]) -> list[list[JudgedRow]]:
    groups: dict[frozenset, list[JudgedRow]] = {}
    for row in judged:
        groups.setdefault(frozenset(trial["cell"] for trial in row.row["cells"]), []).append(row)
    return list(groups.values())


def _read_alike(judged: Sequence[JudgedRow]) -> list[list[JudgedRow]]:
    """The rows that evaluate the same trials in windows that overlap, and in windows that do not."""
    return [
        alike
        for rows in _by_trials(judged)
        for overlapping in (False, True)
        if (alike := [row for row in rows if row.row["facts"].get("overlapping", False) == overlapping])
    ]


def _budgeted(judged: Sequence[JudgedRow]) -> list[JudgedRow]:
    """The trained rows that have one of several budgets."""
    rows = [row for row in trained(judged) if "budget" in row.row["facts"]]
    return rows if len({row.row["facts"]["budget"] for row in rows}) > 1 else []


def _differing(first: JudgedRow, row: JudgedRow) -> list[str]:
    a, b = first.row["facts"], row.row["facts"]
    return [axis for axis in AXES if a.get(axis) != b.get(axis)]


def kind(row: JudgedRow) -> str:
    """`RETRO on (copying, ours)`: what kind of model a row is."""
    facts = row.row["facts"]
    return form_name((facts["family"], facts["retrieval"], facts["initialisation"]))


def _curve(
    label: str, line: Sequence[JudgedRow], axis: str, measure: Callable, rows: Mapping[str, JudgedRow]
) -> Curve:
    points: dict[float, Point] = {}  # several rows may say the same of a point, against others
    for row in line:
        x = row.row["parameters"] if axis == "parameters" else row.row["facts"][axis]
        measured = measure(row, rows)
        if isinstance(measured, Comparison):
            points.setdefault(x, Point(x, measured.mean, measured, row))
        elif measured is not None:
            points.setdefault(x, Point(x, measured, None, row))
    return Curve(label, tuple(sorted(points.values(), key=lambda point: point.x)))


def _beyond_dense(row: JudgedRow, rows: Mapping[str, JudgedRow]) -> Comparison | None:
    """A model that retrieves − one that does not."""
    against = rows.get(row.row["against"])
    if against is None or row.row["facts"]["family"] != "retro" or against.row["facts"]["family"] == "retro":
        return None
    return row.difference


def _beside_as_long(row: JudgedRow, rows: Mapping[str, JudgedRow]) -> Comparison | None:
    """Against a row that is evaluated at the same length, in windows of the same kind."""
    against = rows.get(row.row["against"])
    if against is None:
        return None
    here, there = row.row["facts"], against.row["facts"]
    alike = all(here.get(fact) == there.get(fact) for fact in ("length", "overlapping"))
    return row.difference if alike else None


MEASURED = {
    "on − off": lambda row, _: row.gain,
    "with retrieval − dense": _beyond_dense,
    "− the published form at the same length": _beside_as_long,
    "bits per byte": lambda row, _: row.bits_per_byte,
}
GAINS = ("on − off", "with retrieval − dense")
DRAWN = {
    "tokens": ("on − off",),
    "k": GAINS,
    "database": GAINS,
    "length": ("bits per byte", "− the published form at the same length"),
    "parameters": GAINS,
}


def scaled(results: Mapping, judged: Sequence[JudgedRow]) -> list[Scaled]:
    """The trained rows that have one of several budgets, by kind of model, each with its law. Rows of which
    no seed finished cannot stand on a curve.
    """
    kinds: dict[str, list[JudgedRow]] = {}
    for row in _budgeted(judged):
        if row.seeds:
            kinds.setdefault(kind(row), []).append(row)
    documents = documents_of(results)
    return [
        Scaled(
            label,
            tuple(rows),
            fit_scaling(
                [row.row["facts"]["budget"] for row in rows],
                [np.stack(list(losses(row.row).values())) for row in rows],
                documents,
            ),
        )
        for label, rows in kinds.items()
    ]


@dataclass(frozen=True)
class OnBlocks:
    """What retrieval adds on every block, and what it adds on each of the others − on the first one."""

    measured: str
    added: tuple[tuple[JudgedRow, Comparison], ...]
    first: JudgedRow
    beyond_first: tuple[tuple[JudgedRow, Comparison], ...]


def on_blocks(results: Mapping, judged: Sequence[JudgedRow]) -> list[OnBlocks]:
    """By the difference to the dense model, and by the gain on − off; nothing where rows have no block."""
    rows = [row for row in judged if "block" in row.row["facts"] and row.difference is not None]
    if not rows:
        return []
    first, *others = rows
    measures = (
        ("retrieval − dense", [(row, row.difference) for row in rows], interaction),
        ("on − off", [(row, row.gain) for row in rows], gain_interaction),
    )
    known = lambda pairs: tuple((row, difference) for row, difference in pairs if difference is not None)
    return [
        OnBlocks(measured, known(added), first,
                 known((row, between(results, row.name, first.name)) for row in others))
        for measured, added, between in measures
    ]  # fmt: skip
