"""Who works when: the picture of pipelines, and of the same work without one."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from parallelism.strategies.schedules import BACKWARD, FORWARD
from reports.plots import FIGURE_WIDTH, LIGHT, png

COLOURS = {FORWARD: "#56b4e9", BACKWARD: "#0072b2", "idle": "#e8e4dc"}
ROW_HEIGHT = 0.32  # inches


def timeline_png(results: Mapping) -> bytes:
    """A row per stage, or per group of as many devices, as if each had a machine for itself."""
    timelines, rows = results["timelines"], {row["strategy"]: row for row in results["rows"]}
    lengths = {name: max(end for *_, end in spans) for name, spans in timelines.items()}
    count = results["config"]["stages"]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(len(timelines), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, spans) in zip(panels, timelines.items()):
            _draw(axes, spans, count, lengths[name])
            idle, formula = rows[name]["idle_share"], rows[name]["idle_share_formula"]
            waiting = "never idle" if formula == 0 else f"idle {idle:.1%}, equal stages {formula:.1%}"
            axes.set_title(f"{name}: {lengths[name]:.2f} s, {waiting}", loc="left", fontsize=10)
            axes.set_ylabel("stage" if formula else "group")
        panels[-1].set_xlabel(
            "seconds, if each stage has a machine like this for itself; update and exchange left out"
        )
        panels[-1].set_xlim(0, max(lengths.values()))
        handles = [Patch(color=colour, label=kind) for kind, colour in COLOURS.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))

    height = len(timelines) * (ROW_HEIGHT * count + 0.5) + 0.9
    return png(draw, 2 * FIGURE_WIDTH, height, dpi=130)


def _draw(axes: Axes, spans: list, count: int, length: float) -> None:
    for stage in range(count):
        axes.barh(stage, length, height=0.8, color=COLOURS["idle"])
    for stage, kind, micro_batch, start, end in spans:
        box = {"color": COLOURS[kind], "edgecolor": LIGHT["page"], "linewidth": 0.6}
        axes.barh(stage, end - start, left=start, height=0.8, **box)
        text = {"color": LIGHT["ink"] if kind == FORWARD else LIGHT["page"], "fontsize": 7, "clip_on": True}
        axes.text((start + end) / 2, stage, micro_batch, ha="center", va="center", **text)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_yticks(range(count))
