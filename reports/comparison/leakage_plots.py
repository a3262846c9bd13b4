"""The plots of the `leakage` part: bpb(α) and what retrieval gains, and how much was seen of the chunks."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from data.token_store import CHUNK
from judging.comparisons import drawn
from reports.comparison import findings
from reports.comparison.leakage_findings import alphas, comparisons, means, percent
from reports.forms import ALL, domain_name, form_name, forms, pair_name
from reports.plots import LIGHT, colour_of, svg
from reports.words import bits

ASIDE = 0.11  # of the way to the next α, so that intervals do not cover each other


@dataclass(frozen=True)
class Line:
    """A line over α. entries: by α. value: the field that is drawn. intervals: the fields of its intervals,
    the first drawn thin, the second broad.
    """

    entries: Mapping[float, Mapping]
    value: str
    intervals: tuple[str, ...]
    label: str
    colour: str
    hollow: bool


def curves_svg(results: Mapping, domain: str) -> Markup:
    """bpb(α) of every form above the gains of retrieval, on one domain."""
    spoken = [
        f"{form_name(form)} "
        + ", ".join(f"{bits(row['bits_per_byte'])} at {percent(alpha)}" for alpha, row in entries.items())
        for form in forms(results)
        if (entries := means(results, form, domain))
    ]
    number = findings.domains(results).index(domain)
    title = f"Bits per byte by how much of a chunk was seen: {domain_name(domain)}"
    draw = lambda panels: draw_curves(panels, results, domain)
    return svg(f"leakage-{number}", draw, 13, title, spoken, panels=2)


def draw_curves(panels: np.ndarray, results: Mapping, domain: str) -> None:
    """Two panels: bits per byte, and paired differences."""
    above, below = panels
    evaluated = [
        Line(means(results, form, domain), "bits_per_byte", ("interval",), form_name(form), colour_of(form),
             hollow=form[1] == "off")
        for form in forms(results)
    ]  # fmt: skip
    compared = [
        Line(comparisons(results, a, b, domain), "difference", ("over_groups", "over_seeds"),
             pair_name(a, b), colour_of(a), hollow=b[1] != "off")
        for a, b in findings.pairs(results["leakage"])
    ]  # fmt: skip
    for axes, lines in ((above, evaluated), (below, compared)):
        for number, line in enumerate(lines):
            aside = ASIDE * (number - (len(lines) - 1) / 2)
            _draw(axes, line, {alpha: place + aside for place, alpha in enumerate(alphas(results))})
    below.axhline(0, color=LIGHT["faint"], linewidth=1)
    above.set_ylabel("bits per byte")
    below.set_ylabel("difference, bits per byte")
    below.set_xlabel(
        "α in %: longest run shared with training, of 64 tokens\n"
        f"thin: 95 % over {drawn(results)}, broad: 95 % over seeds"
    )
    for panel in panels:
        panel.set_xticks(range(len(alphas(results))), [f"{100 * alpha:g}" for alpha in alphas(results)])
        panel.grid(axis="y", color=LIGHT["rule"], linewidth=0.6)
        panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=8.5)


def _draw(axes: Axes, line: Line, at: Mapping[float, float]) -> None:
    """A line and its intervals. at: by α, where it stands."""
    axes.plot(
        [at[alpha] for alpha in line.entries], [row[line.value] for row in line.entries.values()],
        color=line.colour, label=line.label, linewidth=1.2, marker="o", markersize=4,
        markerfacecolor=LIGHT["page"] if line.hollow else line.colour,
        linestyle=(0, (4, 2)) if line.hollow else "-",
    )  # fmt: skip
    for name, style in zip(line.intervals, ({"linewidth": 1.0}, {"linewidth": 4.0, "alpha": 0.35})):
        known = {alpha: row[name] for alpha, row in line.entries.items() if row[name] is not None}
        low, high = np.reshape(list(known.values()), [-1, 2]).T
        axes.vlines([at[alpha] for alpha in known], low, high, color=line.colour, **style)


def histogram_svg(results: Mapping) -> Markup:
    """How long the longest shared runs of all held-out chunks are."""
    runs = _runs(results)
    spoken = [f"{count} of {sum(runs)} chunks: {tokens} tokens" for tokens, count in enumerate(runs) if count]
    draw = lambda axes: draw_histogram(axes, results)
    return svg("leakage-runs", draw, 5, "Longest runs shared with training", spoken)


def draw_histogram(axes: Axes, results: Mapping) -> None:
    runs = _runs(results)
    axes.bar(range(len(runs)), np.divide(runs, sum(runs)), color=LIGHT["gopher"])
    axes.set_xticks([0, *(round(alpha * CHUNK) for alpha in alphas(results))])
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_xlabel("longest run shared with a training neighbour, tokens of 64")
    axes.set_ylabel("held-out chunks")


def _runs(results: Mapping) -> list[int]:
    return next(entry["chunks"] for entry in results["leakage"]["runs"] if entry["domain"] == ALL)
