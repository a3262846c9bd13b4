"""The plots of an ablation, as elements of the page: paired differences of all rows, laws of scaling, and
what changes along an axis. In all of them thin lines are 95 % over groups of documents, broad ones over
seeds, dotted ones over draws of a database.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from judging.intervals import Comparison
from judging.rows import JudgedRow
from judging.verdicts import CANNOT_TELL, NO_CLAIM, OPPOSITE, SAME
from reports.plots import LIGHT, row_label, svg
from reports.study.curves import AXES, Curves, Scaled, axis_value
from reports.study.table import by_group
from reports.words import bits, flops, signed

COLOURS = ("gopher", "palm", "retro", "copying", "ink", "faint")
BY_VERDICT = {SAME: "retro", OPPOSITE: "copying", CANNOT_TELL: "faint"}
MARKERS = "osD^v"
ROW = 0.82  # of plots.ROW_HEIGHT
LINE = 58  # characters of a row's name and figures together
VIEW = 0.9  # share of the interval ends that a forest plot shows whole; what is beyond is cut with an arrow
LEGEND = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "fontsize": 8.5}
INTERVALS = "thin: 95 % over groups of documents, broad: 95 % over seeds"
DRAWN = "dotted: 95 % over draws of a database"
LEAST_VIEW = 0.01  # bits per byte to either side


def forest_svg(name: str, judged: Sequence[JudgedRow]) -> Markup | None:
    """Row − the row that it is against; None where no row is against another."""
    shown = [row for row in judged if row.row["against"] is not None]
    if not shown:
        return None
    spoken = [f"{row.name} {_figures(row)}" for row in shown]
    lines = ROW * (len(shown) + len(by_group(shown)))
    title = "Paired differences in bits per byte"
    return svg(name, lambda axes: draw_forest(axes, shown), lines, title, spoken)


def draw_forest(axes: Axes, judged: Sequence[JudgedRow]) -> None:
    """A line per row below its group, coloured by its verdict; hollow where a seed did not finish."""
    ends = [abs(end) for row in judged if row.decisive for ends in row.decisive.intervals for end in ends]
    drawn = DRAWN if any(row.decisive and row.decisive.draws for row in judged) else ""
    margin = next((row.margin.value for row in judged if row.margin and row.margin.value), 0.0)
    limit = max(1.3 * np.quantile(ends or [0.0], VIEW), 1.5 * margin, LEAST_VIEW)
    y = 0
    for group, rows in by_group(judged):
        axes.text(0, y + 0.2, group, transform=axes.get_yaxis_transform(), va="bottom", weight="bold", size=9)
        for row in rows:
            y += 1
            colour = LIGHT[BY_VERDICT.get(row.verdict, "gopher")]
            figures = _figures(row)
            row_label(axes, y, _shortened(row.name, LINE - len(figures)), figures)
            _clipped(axes, y + 0.06, row.decisive, limit, colour, hollow=bool(row.unfinished))
        y += 1
    axes.axvspan(-margin, margin, color=LIGHT["rule"], alpha=0.35, linewidth=0)
    axes.axvline(0, color=LIGHT["faint"], linewidth=1)
    axes.set_xlim(-limit, limit)
    axes.set_ylim(y - 0.4, -0.3)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(
        "difference in bits per byte (below zero: better than what it is against)\n"
        + "; ".join(filter(None, [INTERVALS, drawn, f"shaded: ±{margin:.4f}" if margin else ""]))
    )


def _figures(row: JudgedRow) -> str:
    number = "" if row.decisive is None else f"{signed(row.decisive.mean)}, "
    return number + row.verdict.removeprefix(f"{NO_CLAIM}: ").removesuffix(" at this size")


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1].rstrip(" ,") + "…"


def _clipped(
    axes: Axes, y: float, difference: Comparison | None, limit: float, colour: str, hollow: bool
) -> None:
    """A difference and its intervals; arrows where they extend beyond the plot."""
    if difference is None:
        return
    _bars(axes.hlines, y, difference, colour)
    for end, marker in ((-limit, "<"), (limit, ">")):
        if any(bound * end > 0 and abs(bound) > limit for ends in difference.intervals for bound in ends):
            axes.plot([end * 0.985], [y], marker=marker, color=colour, markersize=5)
    if abs(difference.mean) < limit:
        fill = LIGHT["page"] if hollow else colour
        axes.plot([difference.mean], [y], marker="o", color=colour, markersize=5, markerfacecolor=fill)


def _bars(lines: Callable[..., Any], at: float, difference: Comparison, colour: str) -> None:
    """`lines` are axes.hlines or axes.vlines."""
    if difference.over_seeds is not None:
        lines(at, *difference.over_seeds, color=colour, linewidth=4.5, alpha=0.35)
    if difference.over_groups is not None:
        lines(at, *difference.over_groups, color=colour, linewidth=1.3)
    if difference.over_draws is not None:
        lines(at, *difference.over_draws, color=colour, linewidth=2.5, linestyle="dotted")


def curves_svg(name: str, curves: Curves) -> Markup:
    """Every curve along its axis."""
    spoken = [
        f"{curve.label}: "
        + ", ".join(
            f"{_number(curves, point.value)} at {axis_value(curves.axis, point.x)}" for point in curve.points
        )
        for curve in curves.curves
    ]
    title = f"{curves.measured} by {AXES[curves.axis]}"
    height = 4.5 + 0.4 * len(curves.curves)
    return svg(name, lambda axes: draw_curves(axes, curves), height, title, spoken)


def _number(curves: Curves, value: float) -> str:
    return bits(value) if curves.measured == "bits per byte" else signed(value)


def draw_curves(axes: Axes, curves: Curves) -> None:
    """The points of every curve, a little aside of each other so that intervals do not cover each other."""
    logarithmic = curves.axis != "k"
    for number, curve in enumerate(curves.curves):
        colour = LIGHT[COLOURS[number % len(COLOURS)]]
        aside = 0.02 * (number - (len(curves.curves) - 1) / 2)
        xs = [point.x * (1 + aside) if logarithmic else point.x + 3 * aside for point in curve.points]
        axes.plot(xs, [point.value for point in curve.points], color=colour, linewidth=1.2, label=curve.label)
        for x, point in zip(xs, curve.points):
            fill = LIGHT["page"] if point.row.unfinished else colour
            axes.plot([x], [point.value], color=colour, marker="o", markersize=4, markerfacecolor=fill)
            if point.difference is not None:
                _bars(axes.vlines, x, point.difference, colour)
    if curves.measured != "bits per byte":
        axes.axhline(0, color=LIGHT["faint"], linewidth=1)
    ticks = sorted({point.x for curve in curves.curves for point in curve.points})
    _x_axis(axes, {tick: axis_value(curves.axis, tick) for tick in ticks}, logarithmic)
    axes.set_xlabel(AXES[curves.axis] + (f"\n{INTERVALS}" if curves.measured != "bits per byte" else ""))
    axes.set_ylabel("bits per byte" if curves.measured == "bits per byte" else "difference, bits per byte")
    axes.grid(axis="y", color=LIGHT["rule"], linewidth=0.6)
    axes.legend(**LEGEND)


def _x_axis(axes: Axes, ticks: Mapping[float, str], logarithmic: bool) -> None:
    """Only values that occur are marked."""
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xticks([], minor=True)


def scaling_svg(name: str, scaled: Sequence[Scaled]) -> Markup:
    at = lambda row: f"{bits(row.bits_per_byte)} at {flops(row.row['facts']['budget'])} FLOPs"
    spoken = [f"{kind.label}: {', '.join(map(at, kind.rows))}" for kind in scaled]
    title, height = "Bits per byte over training FLOPs", 5 + 0.4 * len(scaled)
    return svg(name, lambda axes: draw_scaling(axes, scaled), height, title, spoken)


def draw_scaling(axes: Axes, scaled: Sequence[Scaled]) -> None:
    """Every size at every budget, filled where it is the budget's best; the law with its interval."""
    for number, kind in enumerate(scaled):
        colour = LIGHT[COLOURS[number % len(COLOURS)]]
        budgets = [row.row["facts"]["budget"] for row in kind.rows]
        best = kind.fit.best if kind.fit else ()
        for index, (row, budget) in enumerate(zip(kind.rows, budgets)):
            fill = colour if index in best else LIGHT["page"]
            axes.plot(
                [budget], [row.bits_per_byte], color=colour, marker=MARKERS[number % len(MARKERS)],
                markersize=5, markerfacecolor=fill, linestyle="none", zorder=4 if index in best else 3,
            )  # fmt: skip
        if kind.fit:
            between = np.geomspace(min(budgets), max(budgets), 40)
            low, high = zip(*(kind.fit.interval(c) for c in between))
            axes.plot(between, kind.fit.law(between), color=colour, linewidth=1.3, label=kind.label)
            axes.fill_between(between, low, high, color=colour, alpha=0.07, linewidth=0)
    ticks = sorted({row.row["facts"]["budget"] for kind in scaled for row in kind.rows})
    _x_axis(axes, {tick: flops(tick) for tick in ticks}, logarithmic=True)
    values = [row.bits_per_byte for kind in scaled for row in kind.rows]
    margin = 0.4 * np.ptp(values) + 1e-3  # the intervals, wide by what documents differ, may extend beyond
    axes.set_ylim(min(values) - margin, max(values) + margin)
    axes.set_xlabel(
        "training FLOPs\nfilled: the best size of a budget, which the law is fitted to\n"
        "shaded: 95 % of the laws on seeds and groups drawn again"
    )
    axes.set_ylabel("bits per byte")
    axes.grid(axis="y", color=LIGHT["rule"], linewidth=0.6)
    axes.legend(**LEGEND)
