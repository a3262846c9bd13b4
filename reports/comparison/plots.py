"""The plots of a comparison: bits per byte, paired differences, and loss over tokens."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from judging.comparisons import drawn
from reports.comparison import findings
from reports.forms import ALL, NO_NEAR_DUPLICATES, Form, form_name, forms, in_order, pair_name
from reports.plots import FIGURE_WIDTH, LIGHT, ROW_HEIGHT, colour_of, png, row_label, svg
from reports.words import bits, bounds, count, signed

PAIR_HEIGHT = 1.5  # rows: a pair has a second interval, for documents without near-duplicates
SMOOTHING = 0.02  # of a curve's points


def bits_per_byte_svg(results: Mapping, name: str = "bits-per-byte") -> Markup:
    spoken = [
        f"{form_name(form)} {bits(row['bits_per_byte'])} {bounds(row['interval'])}"
        for form in forms(results)
        if (row := findings.mean_of(results, form))
    ]
    return svg(name, lambda axes: draw_bits_per_byte(axes, results), len(spoken), "Bits per byte", spoken)


def differences_svg(results: Mapping, name: str = "differences") -> Markup:
    pairs, title = findings.pairs(results), "Paired differences in bits per byte"
    spoken = [
        f"{pair_name(a, b)} {signed(row['difference'])}, {row['verdict']}"
        for a, b in pairs
        if (row := findings.comparison(results, a, b))
    ]
    return svg(name, lambda axes: draw_differences(axes, results), PAIR_HEIGHT * len(pairs), title, spoken)


def curves_svg(results: Mapping) -> Markup:
    title = "Training loss against training tokens"
    return svg("curves", lambda axes: draw_curves(axes, results), 5.5, title, [])


def summary_png(results: Mapping) -> bytes:
    """Bits per byte and paired differences side by side."""

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.08})
        draw_bits_per_byte(left, results)
        draw_differences(right, results)

    rows = max(len(forms(results)), PAIR_HEIGHT * len(findings.pairs(results)))
    return png(draw, 2 * FIGURE_WIDTH, 0.9 + ROW_HEIGHT * rows)


def draw_bits_per_byte(axes: Axes, results: Mapping) -> None:
    """Every form with its interval over groups, hollow without neighbours, and the unigram reference."""
    evaluated = forms(results)
    for y, form in enumerate(evaluated):
        row = findings.mean_of(results, form)
        figures = f"{bits(row['bits_per_byte'])} {bounds(row['interval'])}"
        row_label(axes, y, form_name(form), figures)
        _interval(axes, y, row["bits_per_byte"], row["interval"], colour_of(form), hollow=form[1] == "off")
    for row in results["unigram"]:
        if row["domain"] == ALL:
            axes.axvline(row["bits_per_byte"], color=LIGHT["faint"], linestyle=(0, (4, 3)), linewidth=1)
            beyond = all(row["bits_per_byte"] > mean["bits_per_byte"] for mean in results["means"])
            place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            place |= {"xytext": (-4, 0), "ha": "right"} if beyond else {"xytext": (4, 0), "ha": "left"}
            axes.annotate("unigram", (row["bits_per_byte"], 0.02), color=LIGHT["faint"], **place)
    _rows(axes, len(evaluated))
    axes.set_xlabel("bits per byte, held-out documents (less is better)")


def draw_differences(axes: Axes, results: Mapping) -> None:
    """Every pair on all held-out documents (filled) and on those without near-duplicates (hollow)."""
    pairs = findings.pairs(results)
    for index, (a, b) in enumerate(pairs):
        y, colour = PAIR_HEIGHT * index, colour_of(a)
        for offset, domain in ((0.0, ALL), (0.32, NO_NEAR_DUPLICATES)):
            row = findings.comparison(results, a, b, domain)
            if row is None:
                continue
            if domain == ALL:
                figures = f"{signed(row['difference'])}, {row['verdict']}"
                row_label(axes, y, pair_name(a, b), figures)
            if row["over_seeds"] is not None:
                broad = {"linewidth": 4.5, "alpha": 0.35, "solid_capstyle": "butt"}
                axes.plot(row["over_seeds"], [y + offset] * 2, color=colour, **broad)
            value, over_groups = row["difference"], row["over_groups"]
            _interval(axes, y + offset, value, over_groups, colour, hollow=domain != ALL)
    axes.axvline(0, color=LIGHT["faint"], linewidth=1)
    _rows(axes, PAIR_HEIGHT * len(pairs))
    axes.set_xlabel(
        "difference in bits per byte (below zero: the first is better)\n"
        "filled: all documents, hollow: without near-duplicates\n"
        f"thin: 95 % over {drawn(results)}, broad: 95 % over seeds"
    )


def draw_curves(axes: Axes, results: Mapping) -> None:
    """Training loss over tokens, mean over seeds, smoothed."""
    runs: dict[Form, list[Mapping]] = {}
    for curve in results["curves"]:
        runs.setdefault((curve["model"], None, curve["initialisation"]), []).append(curve)
    settled = []
    for form in in_order(runs):
        tokens = np.asarray(runs[form][0]["tokens"], float)
        loss = np.mean([np.interp(tokens, run["tokens"], run["loss"]) for run in runs[form]], axis=0)
        smooth = _smoothed(loss)
        axes.plot(tokens, smooth, color=colour_of(form), linewidth=1.4, label=form_name(form),
                  linestyle=(0, (5, 2)) if form[2] == "copying" else "-")  # fmt: skip
        # The first steps fall from ln(vocabulary) and would flatten all that follows.
        settled.extend(smooth[len(smooth) // 20 :])
    margin = 0.05 * np.ptp(settled) + 1e-3
    axes.set_ylim(min(settled) - margin, max(settled) + margin)
    axes.legend(loc="upper right")
    axes.xaxis.set_major_formatter(lambda tokens, _: count(tokens))
    axes.grid(axis="y", color=LIGHT["rule"], linewidth=0.6)
    axes.set_xlabel("training tokens")
    axes.set_ylabel("training loss, nats per token")


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Centred moving average; the window shrinks at the ends instead of inventing values there."""
    window = np.ones(max(1, round(SMOOTHING * len(values))))
    if len(window) == 1:
        return values
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def _interval(
    axes: Axes, y: float, value: float, interval: list[float] | None, colour: str, *, hollow: bool
) -> None:
    if interval is not None:
        axes.plot(interval, [y, y], color=colour, linewidth=1.5, marker="|", markersize=5)
    fill = LIGHT["page"] if hollow else colour
    axes.plot([value], [y], color=colour, marker="o", markersize=6, markerfacecolor=fill)


def _rows(axes: Axes, height: float) -> None:
    axes.set_ylim(height - 0.5, -0.75)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.05)
