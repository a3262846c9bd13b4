"""What the figures of an ablation allow one to say: sentences whose every number comes from the file.

The pages take their words from here. Results that disappoint are said as plainly as those that do not.
"""

from collections.abc import Mapping, Sequence
from statistics import median

from judging.intervals import Comparison, Interval
from judging.verdicts import (
    CANNOT_TELL,
    DIVERGED,
    FAILED,
    OPPOSITE,
    SAME,
    SEEDS_FOR_A_VERDICT,
    JudgedRow,
    better_or_worse,
    seeds_text,
)
from reports.study.table import said
from reports.words import bounds, count, signed

QUESTIONS = {
    "ablate palm": ("PaLM's ablations", "What does each of PaLM's choices bring?"),
    "ablate gopher": ("Gopher's ablations", "What does each of Gopher's choices bring?"),
    "ablate retro": ("RETRO's ablations", "What of retrieval matters?"),
    "scaling": (
        "Scaling",
        "How do bits per byte fall with training compute, and what does retrieval add as models, database "
        "and neighbours grow?",
    ),
    "payoff": (
        "When retrieval starts to pay",
        "After how many training tokens is RETRO better with its neighbours than without them?",
    ),
    "square": ("The square", "Does PaLM's parallel block change what retrieval is worth?"),
}  # fmt: skip
# A verdict on a direction that a paper gives, in the order and the words in which they are listed.
DIRECTIONS = {
    SAME: "reproduced",
    OPPOSITE: "opposite",
    CANNOT_TELL: "cannot tell at this size",
    None: "not judged: too few seeds finished",
}


def title(experiment: str) -> str:
    """The heading of an experiment's section."""
    return QUESTIONS[experiment][0] if experiment in QUESTIONS else experiment


def question(experiment: str) -> str:
    """What it was run for; empty for an experiment of another name."""
    return QUESTIONS[experiment][1] if experiment in QUESTIONS else ""


def scale(results: Mapping) -> str:
    """`1.38M parameters, 625K training tokens, 3 seeds, corpus stdlib, on cpu`: what the rows are."""
    rows = results["rows"]
    config, environment = results["config"], results["environment"]
    seeds = max(len(row["cells"]) for row in rows)
    told = [
        f"{_span(row['parameters'] for row in rows)} parameters",
        f"{_span(row['train_tokens'] for row in rows)} training tokens",
        seeds_text(seeds),
        f"corpus {corpus_name(config['corpus'])}",
        f"on {environment['device']}",
    ]
    return ", ".join(told)


def corpus_name(corpus: str) -> str:
    """`stdlib`, a dataset's name, or the last part of a path."""
    return corpus if corpus.startswith("hf:") else corpus.rstrip("/").rpartition("/")[2]


def _span(values) -> str:
    values = list(values)
    return " to ".join(dict.fromkeys(map(count, (min(values), max(values)))))


def directions(judged: Sequence[JudgedRow]) -> dict[str, list[str]]:
    """By what came of them, every direction that a paper gives with what it says and our number; only what
    occurs.
    """
    found: dict[str, list[str]] = {}
    named = {row.name: row for row in judged}
    for verdict, words in DIRECTIONS.items():
        rows = [row for row in claims(judged) if _decided(row) == verdict]
        if rows:
            found[words] = [_direction(row, named.get(row.row["against"])) for row in rows]
    return found


def claims(judged: Sequence[JudgedRow]) -> list[JudgedRow]:
    """The rows of which a paper says which way they go."""
    return [row for row in judged if row.row["paper"] and row.row["paper"]["expects"]]


def _decided(row: JudgedRow) -> str | None:
    return row.verdict if row.verdict in (SAME, OPPOSITE, CANNOT_TELL) else None


def _direction(row: JudgedRow, against: JudgedRow | None) -> str:
    paper = row.row["paper"]
    number = "no number" if row.difference is None else number_of(row.difference)
    known = "" if _decided(row) else f"; {said(row)}"
    by_gain = ""
    if row.gain_verdict:
        by_gain = (
            f" By the gain on − off: {row.gain_verdict}. It gains {signed(row.gain.mean)}, {against.name} "
            f"{signed(against.gain.mean)}; {number_of(row.gain_difference)}."
        )
    return (
        f"{row.name}: expected {paper['expects']} than {row.row['against']} ({paper['figure']}; "
        f"{paper['source']}). Here {number}{known}.{by_gain}"
    ).replace("expected equal than", "expected equal to")


def number_of(difference: Comparison) -> str:
    """`−0.0274 bits per byte (seeds [−0.0476, −0.0073], documents [−0.0411, −0.0096])`"""
    intervals = {"seeds": difference.over_seeds, "documents": difference.over_documents}
    told = ", ".join(f"{name} {_signed_bounds(found)}" for name, found in intervals.items() if found)
    return f"{signed(difference.mean)} bits per byte" + (f" ({told})" if told else "")


def _signed_bounds(interval: Interval) -> str:
    return bounds([interval.low, interval.high], signed)


def counted(judged: Sequence[JudgedRow]) -> str:
    """How many of the papers' directions came out how."""
    rows = claims(judged)
    if not rows:
        return ""
    number = {verdict: sum(_decided(row) == verdict for row in rows) for verdict in DIRECTIONS}
    names = {verdict: _names(row for row in rows if _decided(row) == verdict) for verdict in DIRECTIONS}
    parts = [
        f"{number[SAME]} come out in the same direction{names[SAME]}",
        f"{number[OPPOSITE]} in the opposite one{names[OPPOSITE]}",
        f"{number[CANNOT_TELL]} cannot be told at this size{names[CANNOT_TELL]}",
    ]
    if number[None]:
        parts.append(f"{number[None]} could not be judged{names[None]}")
    return f"Of {len(rows)} directions that papers give, {'; '.join(parts)}."


def counted_by_gain(judged: Sequence[JudgedRow]) -> str:
    """How those directions came out by the gain, for which a RETRO of its own was trained."""
    rows = [row for row in judged if row.gain_verdict]
    if not rows:
        return ""
    names = {
        verdict: _names((row for row in rows if row.gain_verdict == verdict), "gain_difference")
        for verdict in (SAME, OPPOSITE, CANNOT_TELL)
    }
    parts = [f"{verdict}{found}" for verdict, found in names.items() if found]
    return (
        "By the gain on − off, which leaves out what two trainings differ in with and without neighbours "
        f"alike, {len(rows)} of them can be judged anew: {'; '.join(parts)}."
    )


def _names(rows, difference="difference") -> str:
    named = [(row.name, getattr(row, difference)) for row in rows]
    names = ", ".join(name if found is None else f"{name} {signed(found.mean)}" for name, found in named)
    return f" ({names})" if names else ""


def gain_sentences(judged: Sequence[JudgedRow]) -> list[str]:
    """What its neighbours do for every row that is compared with none."""
    told = []
    for row in judged:
        if row.gain is None or row.row["against"] is not None:
            continue
        apart = "" if row.gain_apart is None else f"; {number_of(row.gain_apart)} without near-duplicates"
        told.append(
            f"{row.name} with its neighbours − without: {number_of(row.gain)}, "
            f"{outcome(row, row.gain)}{apart}."
        )
    return told


def outcome(row: JudgedRow, difference: Comparison) -> str:
    """better, worse or cannot tell of a row's difference or gain; or why that is not to be said."""
    seeds = row.paired if difference is row.difference else row.seeds
    if row.verdict == DIVERGED or seeds < SEEDS_FOR_A_VERDICT:
        return DIVERGED if row.verdict == DIVERGED else seeds_text(seeds)
    return better_or_worse(difference)


def without_claims(judged: Sequence[JudgedRow]) -> str:
    """The rows of which no paper gives a direction, where they differ."""
    rows = [row for row in judged if row not in claims(judged) and row.difference is not None]
    found = {
        word: _names(row for row in rows if row.verdict.endswith(f": {word}")) for word in ("better", "worse")
    }
    told = [f"{word}{names}" for word, names in found.items() if names]
    return f"Where no paper gives a direction: {'; '.join(told)}." if told else ""


def unfinished(judged: Sequence[JudgedRow]) -> str:
    """The rows that diverged or failed, and how."""
    rows = [row for row in judged if row.verdict in (DIVERGED, FAILED)]
    return (
        f"Not trained to the end: {', '.join(f'{row.name} ({said(row)})' for row in rows)}." if rows else ""
    )


def sensitivity(judged: Sequence[JudgedRow]) -> str:
    """How small a difference the table could have seen."""
    seen = [row.detectable for row in judged if row.detectable is not None]
    if not seen:
        return ""
    return (
        f"The rows could have shown differences of {min(seen):.4f} to {max(seen):.4f} bits per byte, half of "
        f"them {median(seen):.4f} or less."
    )
