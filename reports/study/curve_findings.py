"""What curves, laws and blocks allow one to say: sentences whose every number comes from the file."""

from collections.abc import Sequence

from judging.rows import JudgedRow
from judging.verdicts import BETTER, DRAWS_FOR_A_VERDICT, UNDECIDED, WORSE, number_text, outcome
from reports.study.curves import AXES, Curve, Curves, OnBlocks, Point, Scaled, axis_value
from reports.words import bits, bounds, capitalised, count, difference, flops, signed

WORTH = {BETTER: "retrieval is worth more there", WORSE: "retrieval is worth less there"}


def curve_sentences(curves: Sequence[Curves]) -> list[str]:
    """When retrieval starts to pay, and what it adds over sizes, and as neighbours and database grow."""
    sentences = []
    for one in curves:
        if one.axis == "tokens":
            sentences += map(_payoff, one.curves)
        if one.axis == "parameters":
            sentences.append(_over_sizes(one))
        if one.axis in ("k", "database") and one.measured == "on − off":
            sentences.append(_along(one))
    return sentences


def _over_sizes(curves: Curves) -> str:
    points = [point for curve in curves.curves for point in curve.points]
    values = [point.value for point in points]
    verdicts = [point.row.outcome(point.difference) for point in points]
    span = f"{signed(min(values))} to {signed(max(values))} bits per byte"
    better, worse = verdicts.count(BETTER), verdicts.count(WORSE)
    of = f"better in {better} of {len(points)} and worse in {worse}"
    if undecided := verdicts.count(UNDECIDED):
        of += f"; in {undecided} one cannot tell"
    return f"Over sizes and budgets, {curves.measured} is {span}, {of}."


def _along(curves: Curves) -> str:
    lines = (
        f"{curve.label} "
        + ", ".join(
            f"{signed(point.value)} at {axis_value(curves.axis, point.x)}{_few_draws(point)}"
            for point in curve.points
        )
        for curve in curves.curves
    )
    return f"By {AXES[curves.axis]}, {curves.measured} is, in bits per byte: {'; '.join(lines)}."


def _few_draws(point: Point) -> str:
    """` (1 draw)` where too few databases were drawn to say anything of a share."""
    draws = point.difference.draws
    few = draws is not None and draws.number < DRAWS_FOR_A_VERDICT
    return f" ({number_text(draws.number, 'draw')})" if few else ""


def _payoff(curve: Curve) -> str:
    """From which point on all that follow are better with neighbours."""
    last = curve.points[-1]
    better = [point.row.outcome(point.difference) == BETTER for point in curve.points]
    from_here = next((n for n in range(len(better)) if all(better[n:])), None)
    if from_here is None:
        worse = last.row.outcome(last.difference) == WORSE
        when = f"{'is not' if worse else 'cannot be told to be'} better with its neighbours"
    else:
        start = count(curve.points[from_here].x)
        when = f"is better with its neighbours from {start} training tokens on, and"
    when += f" at the last of {len(better)} points, {count(last.x)} training tokens"
    verdict = last.row.outcome(last.difference)
    form = f"RETRO with the {last.row.row['facts']['initialisation']} initialisation"
    return f"{form} {when}. There on − off is {difference(last.difference)}: {verdict}."


def law_sentences(laws: Sequence[Scaled]) -> list[str]:
    """The law of every kind of model, and what it gives at the largest budget."""
    sentences = []
    for kind in laws:
        if kind.fit is None:
            continue
        largest, best = kind.fit.budgets[-1], kind.rows[kind.fit.best[-1]]
        sentences.append(
            f"{kind.label}: {_law(kind)}; at {flops(largest)} FLOPs the best size has "
            f"{count(best.row['parameters'])} parameters and reaches {bits(best.bits_per_byte)} bits per "
            f"byte, the law {bits(float(kind.fit.law(largest)))} {bounds(kind.fit.interval(largest))}, wider "
            f"in truth, for few seeds are drawn again.{_no_envelope(kind)}"
        )
    return sentences


def _no_envelope(kind: Scaled) -> str:
    """Where the best of a budget is the smallest or the largest size tried, a better one may lie beyond."""
    at_edge = 0
    for budget, best in zip(kind.fit.budgets, kind.fit.best):
        sizes = [row.row["parameters"] for row in kind.rows if row.row["facts"]["budget"] == budget]
        at_edge += kind.rows[best].row["parameters"] in (min(sizes), max(sizes))
    if not at_edge:
        return ""
    return (
        f" At {at_edge} of {len(kind.fit.budgets)} budgets the best is the smallest or the largest size that "
        "was tried: this is no envelope of sizes."
    )


def _law(kind: Scaled) -> str:
    law = kind.fit.law
    if law.c is None:
        return f"a line through three budgets, {law.b:.3f} bits per byte less for every e-fold of FLOPs"
    return (
        f"{law.a:.3f} + {law.b:.3f}·(C / {flops(law.scale)})^−{law.c:.2f} bits per byte, exponent "
        f"{bounds(kind.fit.exponent)}"
    )


def block_sentences(blocks: Sequence[OnBlocks]) -> list[str]:
    """What retrieval adds on every block, and whether that differs from the first block's."""
    sentences = []
    for one in blocks:
        for row, added in one.added:
            sentences.append(
                f"On the {_block(row)} block {one.measured} is {difference(added)}: {row.outcome(added)}."
            )
        for row, between in one.beyond_first:
            verdict = outcome(between)
            sentences.append(
                f"{capitalised(one.measured)} on the {_block(row)} block minus that on the "
                f"{_block(one.first)} block is {difference(between)}: {WORTH.get(verdict, verdict)}."
            )
    return sentences


def _block(row: JudgedRow) -> str:
    return row.row["facts"]["block"]
