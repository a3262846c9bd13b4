"""What the rows of a study allow one to say: sentences whose every number comes from the file. Results that
disappoint are said as plainly as those that do not.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from judging.rows import JudgedRow
from judging.verdicts import BETTER, CANNOT_TELL, DIVERGED, FAILED, OPPOSITE, SAME, WORSE
from reports.study.columns import margin_text, needed_text, verdict_text
from reports.words import capitalised, count, difference, plural, signed

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
    "blocks": ("Block and recipe", "Is PaLM's block better than Gopher's, or its recipe?"),
    "sweep": ("Peak learning rates", "At which peak learning rate does each form train best?"),
    "square": ("The square", "Does PaLM's parallel block change what retrieval is worth?"),
}  # fmt: skip
FALSE_DISCOVERIES = 0.05
# A verdict on a direction that a paper gives, in the order and the words in which they are listed.
DIRECTIONS = {
    SAME: "reproduced",
    OPPOSITE: "opposite",
    CANNOT_TELL: "cannot tell at this size",
    None: "not judged: too few seeds, groups or draws, or chosen rows",
}


def scale(results: Mapping) -> str:
    """`1.38M parameters, 625K training tokens, 3 seeds, corpus stdlib, on cpu`: what the rows are."""
    rows = results["rows"]
    parts = [
        f"{_span(row['parameters'] for row in rows)} parameters",
        f"{_span(row['train_tokens'] for row in rows)} training tokens",
        plural(max(len(row["cells"]) for row in rows), "seed"),
        f"corpus {corpus_name(results['config']['corpus'])}",
        f"on {results['environment']['device']}",
    ]
    return ", ".join(parts)


def corpus_name(corpus: str) -> str:
    """`stdlib`, a dataset's name, or the last part of a path."""
    return corpus if corpus.startswith("hf:") else corpus.rstrip("/").rpartition("/")[2]


def _span(values: Iterable[float]) -> str:
    values = list(values)
    return " to ".join(dict.fromkeys(map(count, (min(values), max(values)))))


def claims(rows: Sequence[JudgedRow]) -> list[JudgedRow]:
    """The rows of which a paper says which way they go."""
    return [row for row in rows if row.row["paper"] and row.row["paper"]["expects"]]


def by_verdict(rows: Sequence[JudgedRow]) -> dict[str | None, list[JudgedRow]]:
    """`claims` by the keys of DIRECTIONS, all of which are there."""
    return {verdict: [row for row in claims(rows) if _decided(row) == verdict] for verdict in DIRECTIONS}


def _decided(row: JudgedRow) -> str | None:
    return row.verdict if row.verdict in DIRECTIONS else None


def directions(rows: Sequence[JudgedRow]) -> dict[str, list[str]]:
    """By what came of them, every direction that a paper gives with what it says and our number; only what
    occurs.
    """
    named = {row.name: row for row in rows}
    return {
        DIRECTIONS[verdict]: [_direction(row, named.get(row.row["against"])) for row in members]
        for verdict, members in by_verdict(rows).items()
        if members
    }


def _direction(row: JudgedRow, against: JudgedRow | None) -> str:
    paper = row.row["paper"]
    expected = "equal to" if paper["expects"] == "equal" else f"{paper['expects']} than"
    beyond = f", beyond the difference of {row.row['interaction']}" if row.interaction else ""
    number = "no number" if row.decisive is None else difference(row.decisive)
    known = "" if _decided(row) else f"; {verdict_text(row)}"
    known += f"; {margin_text(row)}" if row.margin and row.decisive else ""
    by_gain = ""
    if row.gain_verdict:
        by_gain = (
            f" By the gain on − off: {row.gain_verdict}. It gains {signed(row.gain.mean)}, {against.name} "
            f"{signed(against.gain.mean)}; {difference(row.gain_difference)}."
        )
    return (
        f"{row.name}: expected {expected} {row.row['against']}{beyond} "
        f"({paper['figure']}; {paper['source']}). Here {number}{known}.{by_gain}"
    )


def counted(rows: Sequence[JudgedRow]) -> str:
    """How many of the papers' directions came out how."""
    if not claims(rows):
        return ""
    parts = [
        f"{DIRECTIONS[verdict].partition(':')[0]}: {len(members)}{_names(members)}"
        for verdict, members in by_verdict(rows).items()
        if members or verdict
    ]
    return f"Papers give {plural(len(claims(rows)), 'direction')}. {capitalised('; '.join(parts))}."


def counted_by_gain(rows: Sequence[JudgedRow]) -> str:
    """How those directions came out by the gain, for which a RETRO of its own was trained."""
    judged = [row for row in rows if row.gain_verdict]
    if not judged:
        return ""
    names = {
        verdict: _names((row for row in judged if row.gain_verdict == verdict), "gain_difference")
        for verdict in (SAME, OPPOSITE, CANNOT_TELL)
    }
    parts = [f"{verdict}{members}" for verdict, members in names.items() if members]
    return (
        "By the gain on − off, which leaves out what two trainings differ in with and without neighbours "
        f"alike, {len(judged)} of them can be judged again: {'; '.join(parts)}."
    )


def _names(rows: Iterable[JudgedRow], measured: str = "decisive") -> str:
    named = [(row.name, getattr(row, measured)) for row in rows]
    names = ", ".join(name if value is None else f"{name} {signed(value.mean)}" for name, value in named)
    return f" ({names})" if names else ""


def gain_sentences(rows: Sequence[JudgedRow]) -> list[str]:
    """What its neighbours do for every row that is compared with none."""
    sentences = []
    for row in rows:
        if row.gain is None or row.row["against"] is not None:
            continue
        apart = "" if row.gain_apart is None else f"; {difference(row.gain_apart)} without near-duplicates"
        sentences.append(
            f"{row.name} with its neighbours − without: {difference(row.gain)}, "
            f"{row.outcome(row.gain)}{apart}."
        )
    return sentences


def without_claims(rows: Sequence[JudgedRow]) -> str:
    """The rows of which no paper gives a direction, where they differ."""
    free = [row for row in rows if row not in claims(rows) and row.difference is not None]
    names = {
        word: _names(row for row in free if row.verdict.endswith(f": {word}")) for word in (BETTER, WORSE)
    }
    parts = [f"{word}{members}" for word, members in names.items() if members]
    return f"Where no paper gives a direction: {'; '.join(parts)}." if parts else ""


def fragile(rows: Sequence[JudgedRow]) -> str:
    """How many verdicts hang on near-duplicates or on one group of documents, and which."""
    judged = [row for row in rows if row.q_value is not None]
    hanging = [row.name for row in judged if row.hangs]
    if not hanging:
        return ""
    return (
        f"{len(hanging)} of {plural(len(judged), 'verdict')} would be another without near-duplicates or "
        f"without one group of documents: {'; '.join(hanging)}."
    )


def deciding_groups(rows: Sequence[JudgedRow]) -> str:
    """The groups without any one of which a verdict is another, with the rows."""
    rows_of: dict[str, list[str]] = {}
    for row in rows:
        for group in row.decided_by:
            rows_of.setdefault(group, []).append(row.name)
    parts = [f"{group} ({'; '.join(names)})" for group, names in rows_of.items()]
    return f"Without one group of documents a verdict is another: {', '.join(parts)}." if parts else ""


def false_discoveries(rows: Sequence[JudgedRow]) -> str:
    """How many of the differences that count do so for the table as a whole."""
    judged = [row for row in rows if row.q_value is not None]
    counting = [row for row in judged if row.decisive.excludes_zero]
    if not counting:
        return ""
    kept = [row for row in counting if row.q_value <= FALSE_DISCOVERIES]
    return (
        f"{len(counting)} of {plural(len(judged), 'difference')} exclude zero, {len(kept)} of them at a "
        f"false discovery rate of {FALSE_DISCOVERIES:.0%} over the table (Benjamini–Hochberg)."
    )


def would_decide(rows: Sequence[JudgedRow]) -> str:
    """What each undecided row would take, were its mean and spread as they are seen."""
    parts = [f"{row.name}: {needed_text(row)}" for row in rows if row.needed]
    return f"What would decide, were means and spreads as seen. {'; '.join(parts)}." if parts else ""


def unfinished(rows: Sequence[JudgedRow]) -> str:
    """The rows that diverged or failed, and how."""
    lost = [f"{row.name} ({verdict_text(row)})" for row in rows if row.verdict in (DIVERGED, FAILED)]
    return f"Not trained to the end: {', '.join(lost)}." if lost else ""


def detectable(rows: Sequence[JudgedRow]) -> list[float]:
    """The smallest detectable difference of every row that has one, in bits per byte."""
    return [row.detectable for row in rows if row.detectable is not None]


def sensitivity(rows: Sequence[JudgedRow]) -> str:
    """How small a difference the table could have shown."""
    smallest = detectable(rows)
    if not smallest:
        return ""
    if len(smallest) == 1:
        return f"The smallest detectable difference is {smallest[0]:.4f} bits per byte."
    return (
        f"The smallest detectable difference of a row is {min(smallest):.4f} to {max(smallest):.4f} bits per "
        f"byte, the median {median(smallest):.4f}."
    )
