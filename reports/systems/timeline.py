"""Who works when: the picture of pipelines, and of the same work without one."""

import io
from collections.abc import Mapping

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from parallelism.strategies.schedules import BACKWARD, FORWARD
from reports.plots import LIGHT, STYLE

COLOURS = {FORWARD: "#56b4e9", BACKWARD: "#0072b2", "idle": "#e8e4dc"}
ROW_HEIGHT, WIDTH = 0.32, 10  # inches


def timeline_png(results: Mapping) -> bytes:
    """A row per stage, or per group of as many devices, as if each had a machine for itself."""
    timelines, rows = results["timelines"], {row["strategy"]: row for row in results["rows"]}
    lengths = {name: max(end for *_, end in spans) for name, spans in timelines.items()}
    count = results["config"]["stages"]
    with matplotlib.rc_context(STYLE):
        height = len(timelines) * (ROW_HEIGHT * count + 0.5) + 0.9
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        panels = figure.subplots(len(timelines), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, spans) in zip(panels, timelines.items()):
            _draw(axes, spans, count, lengths[name])
            idle, formula = rows[name]["idle_share"], rows[name]["idle_share_formula"]
            said = "never idle" if formula == 0 else f"idle {idle:.1%}, equal stages {formula:.1%}"
            axes.set_title(f"{name}: {lengths[name]:.2f} s, {said}", loc="left", fontsize=10)
            axes.set_ylabel("stage" if formula else "group")
        panels[-1].set_xlabel(
            "seconds, if each stage has a machine like this for itself; update and exchange left out"
        )
        panels[-1].set_xlim(0, max(lengths.values()))
        handles = [Patch(color=colour, label=kind) for kind, colour in COLOURS.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=130, facecolor=LIGHT["page"], metadata={"Software": None})
    return buffer.getvalue()


def _draw(axes: Axes, spans: list, count: int, length: float) -> None:
    for stage in range(count):
        axes.barh(stage, length, height=0.8, color=COLOURS["idle"])
    for stage, kind, micro_batch, start, end in spans:
        axes.barh(
            stage,
            end - start,
            left=start,
            height=0.8,
            color=COLOURS[kind],
            edgecolor=LIGHT["page"],
            linewidth=0.6,
        )
        ink = LIGHT["ink"] if kind == FORWARD else LIGHT["page"]
        axes.text(
            (start + end) / 2,
            stage,
            micro_batch,
            ha="center",
            va="center",
            fontsize=7,
            color=ink,
            clip_on=True,
        )
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_yticks(range(count))
