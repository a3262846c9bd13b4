"""How a number, an interval and the name of a model are written, wherever they are shown."""

from collections.abc import Iterable, Mapping

from models.families import FAMILIES

ALL, NO_NEAR_DUPLICATES = "all", "no_near_duplicates"
TITLES = {name: family.title for name, family in FAMILIES.items()}
DOCUMENTS = {ALL: "all held-out documents", NO_NEAR_DUPLICATES: "without near-duplicates"}
Form = tuple[str, str | None, str | None]
GOPHER: Form = ("gopher", None, None)
ORDER: list[Form] = [
    ("palm", None, None),
    GOPHER,
    *(("retro", retrieval, initialisation)
      for initialisation in (None, "published", "copying") for retrieval in (None, "off", "on")),
]  # fmt: skip


def form_of(record: Mapping) -> Form:
    return record["model"], record.get("retrieval"), record.get("initialisation")


def form_name(form: Form) -> str:
    """`RETRO on (copying, ours)`: the published initialisation is RETRO and carries no mark."""
    model, retrieval, initialisation = form
    name = " ".join(filter(None, [TITLES.get(model, model), retrieval]))
    return name + _mark(initialisation)


def _mark(initialisation: str | None) -> str:
    return " (copying, ours)" if initialisation == "copying" else ""


def pair_name(a: Form, b: Form) -> str:
    """`PaLM − Gopher`, and `RETRO on − off (copying, ours)` for two readings of one model."""
    if a[0] == b[0] and a[2] == b[2]:
        return f"{form_name((*a[:2], None))} − {b[1]}{_mark(a[2])}"
    return f"{form_name(a)} − {form_name(b)}"


def forms(results: Mapping) -> list[Form]:
    """Every form that was evaluated, once, in order."""
    return in_order(dict.fromkeys(form_of(row) for row in results["means"]))


def in_order(forms: Iterable[Form]) -> list[Form]:
    """Dense models before RETRO, published before ours, off before on; unknown forms follow."""
    return sorted(forms, key=lambda form: ORDER.index(form) if form in ORDER else len(ORDER))


def domain_name(domain: str) -> str:
    return DOCUMENTS.get(domain, domain)


def count(value: float) -> str:
    """Three digits and a letter: 1376896 is 1.38M."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        # From 999.5 thousand on, three digits already read as a million.
        if value >= 0.9995 * unit:
            return f"{value / unit:#.3g}".rstrip(".") + letter
    return f"{value:g}"


def signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def bits(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def bounds(interval: list[float] | None, number=bits) -> str:
    """`[1.950, 2.070]`, a dash where nothing could be resampled."""
    return "–" if interval is None else f"[{number(interval[0])}, {number(interval[1])}]"
