"""The plots of a comparison: SVG text for the page, PNG bytes for the README.

Colours follow Okabe and Ito's, which colour-blind readers tell apart. In the SVG every colour becomes a CSS
variable of the same name, so that the page can give a lighter one in the dark. The same results give the same
bytes: matplotlib's ids are salted with a constant and nothing is dated.
"""

import io
import re
from collections.abc import Callable, Mapping

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.words import Form

LIGHT = {
    "page": "#fdfdfc", "ink": "#1d2226", "faint": "#6a7178", "rule": "#d3d7db",
    "palm": "#b87700", "gopher": "#0072b2", "retro": "#00875f", "copying": "#b3538f",
}  # fmt: skip
DARK = {
    "page": "#15181b", "ink": "#e6e8ea", "faint": "#9aa2aa", "rule": "#3a4148",
    "palm": "#e69f00", "gopher": "#56b4e9", "retro": "#20b88c", "copying": "#dd8fc0",
}  # fmt: skip
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "experiments.plots", "text.parse_math": False,
    "font.family": "sans-serif", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": LIGHT["rule"], "axes.labelcolor": LIGHT["faint"], "text.color": LIGHT["ink"],
    "xtick.color": LIGHT["rule"], "ytick.color": LIGHT["rule"], "xtick.labelcolor": LIGHT["faint"],
    "ytick.labelcolor": LIGHT["faint"], "legend.frameon": False, "figure.facecolor": "none",
    "axes.facecolor": "none", "savefig.facecolor": "none",
}  # fmt: skip
WIDTH, ROW_HEIGHT = 5.0, 0.5  # inches; narrow, so that text stays legible when a telephone shrinks it
Draw = Callable[[Axes | np.ndarray, Mapping], None]


def colour_of(form: Form) -> str:
    """The light page's colour of a form's family."""
    return LIGHT.get("copying" if form[2] == "copying" else form[0], LIGHT["ink"])


def svg(
    name: str, draw: Draw, results: Mapping, rows: float, title: str, said: list[str], panels: int = 1
) -> Markup:
    """What `draw` makes of `results`, on one Axes or on an array of `panels` that stand below each other, as
    an element of the page. `title` and `said` are what a reader hears who cannot see it.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1 + ROW_HEIGHT * rows), layout="constrained")
        draw(figure.subplots(panels), results)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    described = f'<title id="title">{escape(title)}</title><desc id="desc">{escape("; ".join(said))}</desc>'
    return Markup(_inlined(buffer.getvalue(), described, name))


def _inlined(svg: str, described: str, name: str) -> str:
    """A file's SVG as an element of a page: no header, ids of its own, the page's colours and typeface."""
    view_box = re.search(r'viewBox="[^"]*"', svg)[0]
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    svg = f'<svg {view_box} role="img" aria-labelledby="title desc">{described}{body}'
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    svg = svg.replace('aria-labelledby="title desc"', f'aria-labelledby="{name}-title {name}-desc"')
    for before_id in (' id="', '="#', "url(#"):
        svg = svg.replace(before_id, f"{before_id}{name}-")
    for colour, value in LIGHT.items():
        svg = svg.replace(value, f"var(--{colour})")
    return svg
