"""How every plot looks and is saved: SVG text for a page, PNG bytes for a file.

Colours follow Okabe and Ito's, which colour-blind readers can distinguish. In the SVG each becomes a CSS
variable of the same name, so that the page can give a lighter one in the dark. The same results give the same
bytes: matplotlib's ids are salted with a constant and nothing is dated.
"""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.forms import Form

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
FIGURE_WIDTH, ROW_HEIGHT = 5.0, 0.5  # inches; narrow, so that text stays legible when a telephone shrinks it
STRONG_NATS = 3.0  # per token: full colour
Draw = Callable[[Any], None]  # on Axes, or on an array of them


def colour_of(form: Form) -> str:
    """The light page's colour of a form's family."""
    return LIGHT.get("copying" if form[2] == "copying" else form[0], LIGHT["ink"])


def svg(name: str, draw: Draw, rows: float, title: str, spoken: Sequence[str], panels: int = 1) -> Markup:
    """What `draw` draws on one Axes, or on an array of `panels` that stand below each other, as an element of
    the page. `title` and `spoken` are what a reader hears who cannot see it.
    """
    described = f'<title id="title">{escape(title)}</title><desc id="desc">{escape("; ".join(spoken))}</desc>'
    size, undated = (
        (FIGURE_WIDTH, 1 + ROW_HEIGHT * rows),
        dict.fromkeys(("Creator", "Date", "Format", "Type")),
    )
    drawn = _saved(lambda figure: draw(figure.subplots(panels)), size, format="svg", metadata=undated)
    return Markup(_inlined(drawn.decode(), described, name))


def png(draw: Callable[[Figure], None], width: float, height: float, dpi: int = 150) -> bytes:
    """What `draw` draws on a figure of so many inches, on a light ground."""
    ground = {"facecolor": LIGHT["page"], "metadata": {"Software": None}}
    return _saved(draw, (width, height), format="png", dpi=dpi, **ground)


def _saved(draw: Callable[[Figure], None], size: tuple[float, float], **options: Any) -> bytes:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, **options)
    return buffer.getvalue()


def row_label(axes: Axes, y: float, name: str, figures: str) -> None:
    """Words above their interval: labels at the side would leave no room for the plot in a narrow window."""
    # Its own background keeps the unigram line and the zero line from striking the words out.
    behind = {"facecolor": LIGHT["page"], "edgecolor": "none", "pad": 1}
    place = {"transform": axes.get_yaxis_transform(), "va": "bottom", "bbox": behind}
    axes.text(0, y - 0.2, name, ha="left", **place)
    axes.text(1, y - 0.2, figures, ha="right", color=LIGHT["faint"], **place)


def strength(saved: float) -> int:
    """How strong the colour of a token is, in percent, whose loss neighbours change by `saved` nats."""
    return round(100 * min(1.0, abs(saved) / STRONG_NATS))


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
