"""What curves, laws and the square allow one to say: sentences whose every number comes from the file."""

from collections.abc import Mapping, Sequence

from judging.intervals import Comparison, Interval
from judging.verdicts import (
    SEEDS_FOR_A_VERDICT,
    JudgedRow,
    better_or_worse,
    gain_interaction,
    interaction,
    seeds_text,
)
from reports.study.curves import AXES, Curve, Curves, Scaled, axis_value
from reports.study.findings import number_of, outcome
from reports.words import bits, bounds, count, signed


def curve_sentences(curves: Sequence[Curves]) -> list[str]:
    """When retrieval starts to pay, and what it adds over sizes, and as neighbours and database grow."""
    told = []
    for found in curves:
        if found.axis == "tokens":
            told += map(_payoff, found.curves)
        if found.axis == "parameters":
            told.append(_over_sizes(found))
        if found.axis in ("k", "database") and found.measured == "on − off":
            told.append(_along(found))
    return told


def _over_sizes(curves: Curves) -> str:
    points = [point for curve in curves.curves for point in curve.points]
    values = [point.value for point in points]
    verdicts = [outcome(point.row, point.difference) for point in points]
    span = f"{signed(min(values))} to {signed(max(values))} bits per byte"
    better, worse = verdicts.count("better"), verdicts.count("worse")
    of = f"better in {better} of {len(points)} and worse in {worse}"
    return f"Over sizes and budgets, {curves.measured} is {span}, {of}."


def _along(curves: Curves) -> str:
    told = (
        f"{curve.label} "
        + ", ".join(f"{signed(point.value)} at {axis_value(curves.axis, point.x)}" for point in curve.points)
        for curve in curves.curves
    )
    return f"By {AXES[curves.axis]}, {curves.measured} is, in bits per byte: {'; '.join(told)}."


def _payoff(curve: Curve) -> str:
    """From which point on all that follow are better with neighbours."""
    last = curve.points[-1]
    better = [outcome(point.row, point.difference) == "better" for point in curve.points]
    from_here = next((n for n in range(len(better)) if all(better[n:])), None)
    if from_here is None:
        when = "is not better with its neighbours"
    else:
        start = count(curve.points[from_here].x)
        when = f"is better with its neighbours from {start} training tokens on, and"
    when += f" at the last of {len(better)} points, {count(last.x)} training tokens"
    verdict = outcome(last.row, last.difference)
    form = f"RETRO with the {last.row.row['facts']['initialisation']} initialisation"
    return f"{form} {when}. There on − off is {number_of(last.difference)}: {verdict}."


def law_sentences(scaled: Sequence[Scaled]) -> list[str]:
    """The law of every kind of model, and what it reads at the largest budget."""
    told = []
    for kind in scaled:
        if kind.fit is None:
            continue
        largest, best = kind.fit.budgets[-1], kind.rows[kind.fit.best[-1]]
        size = count(best.row["parameters"])
        told.append(
            f"{kind.label}: {_law(kind)}; at {_power(largest)} FLOPs the best size has {size} parameters and "
            f"reads {bits(best.bits_per_byte)} bits per byte, the law "
            f"{bits(float(kind.fit.law(largest)))} {_bounds(kind.fit.interval(largest))}."
        )
    return told


def _law(kind: Scaled) -> str:
    law, exponent = kind.fit.law, kind.fit.exponent
    if law.c is None:
        return f"a line through two budgets, {law.b:.3f} bits per byte less for every e-fold of FLOPs"
    return (
        f"{law.a:.3f} + {law.b:.3f}·(C / {_power(law.scale)})^−{law.c:.2f} bits per byte, exponent "
        f"{_bounds(exponent)}"
    )


def _power(value: float) -> str:
    return f"{value:.2g}".replace("e+", "e")


def _bounds(interval: Interval) -> str:
    return bounds([interval.low, interval.high])


def square_sentences(results: Mapping, judged: Sequence[JudgedRow]) -> list[str]:
    """What retrieval adds on every block, by its difference to the dense model and by its gain on − off, and
    whether that differs from the first block's.
    """
    rows = [row for row in judged if "block" in row.row["facts"] and row.difference is not None]
    told = []
    for measured, differences, compared in (
        ("retrieval − dense", [row.difference for row in rows], interaction),
        ("on − off", [row.gain for row in rows], gain_interaction),
    ):
        told += [
            f"On the {row.row['facts']['block']} block {measured} is {number_of(difference)}: "
            f"{outcome(row, difference)}."
            for row, difference in zip(rows, differences)
            if difference is not None
        ]
        told += [
            _block_sentence(measured, compared(results, other.name, rows[0].name), other, rows[0])
            for other in rows[1:]
        ]
    return list(filter(None, told))


def _block_sentence(measured: str, between: Comparison | None, other: JudgedRow, first: JudgedRow) -> str:
    if between is None:
        return ""
    seeds = min(first.paired, other.paired)
    verdict = better_or_worse(between) if seeds >= SEEDS_FOR_A_VERDICT else seeds_text(seeds)
    worth = {"better": "retrieval is worth more there", "worse": "retrieval is worth less there"}
    return (
        f"{measured[0].upper()}{measured[1:]} on the {other.row['facts']['block']} block minus that on the "
        f"{first.row['facts']['block']} block is {number_of(between)}: {worth.get(verdict, verdict)}."
    )
