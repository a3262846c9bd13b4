"""What the `leakage` part of results.json allows one to say: sentences and a short table.

Results of before that part was made have none: `has_leakage` says so, and all else asks for it.
"""

from collections.abc import Mapping

from data.token_store import CHUNK
from judging.verdicts import BETTER
from reports.comparison.findings import pairs
from reports.forms import ALL, Form, form_name, form_of, forms, pair_name
from reports.tables import Table, plain_table
from reports.words import bits, figure, signed

LOW, WHOLE = 1 / 8, 1.0
SHOWN = (LOW, 1 / 2, WHOLE)


def has_leakage(results: Mapping) -> bool:
    return bool(results.get("leakage"))


def alphas(results: Mapping) -> list[float]:
    return sorted({row["alpha"] for row in results["leakage"]["means"]})


def percent(alpha: float) -> str:
    return f"{100 * alpha:g} %"


def means(results: Mapping, form: Form, domain: str = ALL) -> dict[float, Mapping]:
    """A form's entries by α, those left out to which no chunk of the domain belongs."""
    rows = results["leakage"]["means"]
    return {row["alpha"]: row for row in rows if form_of(row) == form and row["domain"] == domain}


def comparisons(results: Mapping, a: Form, b: Form, domain: str = ALL) -> dict[float, Mapping]:
    """The entries of a − b by α."""
    rows = (row for row in results["leakage"]["comparisons"] if row["domain"] == domain)
    return {row["alpha"]: row for row in rows if (form_of(row["a"]), form_of(row["b"])) == (a, b)}


def amounts(results: Mapping, domain: str = ALL) -> dict[float, Mapping]:
    """By α an entry whose `chunks` and `bytes` are those with r(C) ≤ α: they are the same for every form."""
    return means(results, forms(results)[0], domain)


def share_of_bytes(results: Mapping, alpha: float, domain: str = ALL) -> float:
    """Of the domain's held-out bytes, those in chunks with r(C) ≤ α."""
    rows = amounts(results, domain)
    return rows[alpha]["bytes"] / rows[WHOLE]["bytes"] if alpha in rows else 0.0


def surviving(results: Mapping, a: Form, b: Form) -> float | None:
    """a − b over the chunks of which at most 12.5 % was seen, as a part of a − b over all chunks; None unless
    a is better over all.
    """
    rows = comparisons(results, a, b)
    if LOW not in rows or rows[WHOLE]["verdict"] != BETTER:
        return None
    return rows[LOW]["difference"] / rows[WHOLE]["difference"]


def sentences(results: Mapping) -> list[str]:
    """How much of the held-out text was hardly seen, and what every pair's difference is there."""
    share, neighbours = share_of_bytes(results, LOW), results["leakage"]["neighbours"]
    text = (
        f"{share:.0%} of the held-out bytes lie in chunks whose longest run shared with their {neighbours} "
        f"nearest training neighbours has at most {round(LOW * CHUNK)} tokens ({percent(LOW)} of a chunk)."
    )
    return [text, *(_gain(results, a, b) for a, b in pairs(results["leakage"]) if share)]


def _gain(results: Mapping, a: Form, b: Form) -> str:
    rows, part = comparisons(results, a, b), surviving(results, a, b)
    kept = "" if part is None else f": {_share(part)} of the gain is left"
    return (
        f"{pair_name(a, b)}: {_difference(rows[WHOLE])} bits per byte over all chunks, "
        f"{_difference(rows[LOW])} over those{kept}."
    )


def _difference(row: Mapping) -> str:
    return f"{signed(row['difference'])} ({row['verdict']})"


def _share(part: float | None) -> str:
    return figure(part, ".0%").replace("-", "−")


def short_table(results: Mapping) -> Table:
    """Bits per byte of every form and the gains, at three values of α. Names of two lines keep it narrow."""
    shown = [alpha for alpha in SHOWN if alpha in amounts(results)]
    header = ["bits per byte where at\nmost so much was seen"]
    header += [f"{round(alpha * CHUNK)} tokens\n({percent(alpha)})" for alpha in shown]
    header += [f"gain left\nat {percent(LOW)}"]
    shares = (share_of_bytes(results, alpha) for alpha in shown)
    rows = [["share of held-out bytes", *(f"{share:.0%}" for share in shares), ""]]
    for form in forms(results):
        entries = means(results, form)
        rows.append([form_name(form), *(bits(entries[alpha]["bits_per_byte"]) for alpha in shown), ""])
    for a, b in pairs(results["leakage"]):
        entries, left = comparisons(results, a, b), _share(surviving(results, a, b))
        name = pair_name(a, b).replace(" − ", "\n− ")
        rows.append([name, *(_difference(entries[alpha]) for alpha in shown), left])
    return plain_table("By how much of a chunk was seen in training", header, rows)
