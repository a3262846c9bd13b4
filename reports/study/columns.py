"""What the tables of a study say: the text of every column for a row, in the terminal and on the pages alike,
how to read them, and the notes below.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any

from judging.intervals import MOST_NEEDED, Comparison
from judging.margin import EQUAL_SHARE, Margin
from judging.null_check import NullCheck
from judging.rows import JudgedRow
from judging.verdicts import DIVERGED, FAILED, NO_CLAIM, REFERENCE
from reports.words import bits, bounds, count, figure, flops, plural, signed

MIB = 2**20
INTERVALS = (
    "Intervals are 95 %: Student's t over seeds above; below over groups of documents, by leaving out one "
    "after the other; and, where a database is drawn, over its draws. A verdict needs all of them to exclude "
    "zero. Detectable: the largest half-width; a smaller difference could not have been distinguished from "
    "zero. q: the false discovery rate of the table at which a difference counts."
)
GAIN = "Gain: the same model with its neighbours − without."


def usual_reference(rows: Sequence[JudgedRow]) -> str:
    """What most rows are against, if that is one row: it is named once, and others below their rows."""
    against = [row.row["against"] for row in rows if row.row["against"] is not None]
    most = max(against, key=against.count, default="")
    return most if 2 * against.count(most) > len(against) else ""


def legend(rows: Sequence[JudgedRow]) -> str:
    """How to read the table."""
    against = ""
    if any(row.difference for row in rows):
        most = f"{usual_reference(rows)}, or − " if usual_reference(rows) else ""
        against = (
            f"Differences are row − {most}what is named below the row, paired by seed, batch and document. "
        )
    gains = f" {GAIN}" if any(row.gain for row in rows) else ""
    margin = next((f" {_margin_sentence(row.margin)}" for row in rows if row.margin), "")
    return f"Less is better. {against}{INTERVALS}{margin}{gains}"


def _margin_sentence(margin: Margin) -> str:
    if margin.value is None:
        return f"No margin of equality can be stated: {margin.of}."
    return (
        f"Equal is what has all of them within ±{margin.value:.4f} bits per byte, {EQUAL_SHARE:.0%} of "
        f"{margin.of}."
    )


def texts(judged: JudgedRow, usual: str) -> dict[str, str]:
    """The text of every column for one row; a dash where there is nothing to say.

    Args:
        usual: the reference that need not be named.
    """
    row, paper = judged.row, judged.row["paper"] or {}
    return {
        "row": row["name"],
        "against": "" if row["against"] in (None, usual) else f"− {row['against']}",
        "bits per byte": bits(judged.bits_per_byte),
        "interval": bounds(judged.interval),
        **_compared("difference", judged.difference),
        "detectable": "–" if judged.detectable is None else f"±{judged.detectable:.4f}",
        **_compared("interaction", judged.interaction),
        "interaction of": f"beyond {row['interaction']}" if judged.interaction else "–",
        **_compared("gain", judged.gain),
        **_compared("gain apart", judged.gain_apart),
        **_compared("gain − its", judged.gain_difference),
        "parameters": count(row["parameters"]),
        "train tokens": count(row["train_tokens"]),
        "train FLOPs": flops(row["train_flops"]),
        "tokens/s": figure(_measured(row, "tokens_per_second", mean), ",.0f"),
        "MiB": figure(_measured(row, "peak_bytes", lambda sizes: max(sizes) / MIB), ",.0f"),
        "paper": paper.get("figure") or "–",
        "source": paper.get("source") or "–",
        "verdict": verdict_text(judged),
        "margin": margin_text(judged),
        "q": "–" if judged.q_value is None else f"{judged.q_value:.3f}",
        "apart": _apart_text(judged),
        "decided by": f"another without {' or '.join(judged.decided_by)}" if judged.decided_by else "–",
        "needed": needed_text(judged),
    }


def with_intervals(name: str) -> tuple[str, ...]:
    """The columns of one comparison: the mean, the interval for every source of chance, and for all."""
    return name, *(f"{name} over {what}" for what in ("seeds", "groups", "draws", "all"))


def _compared(name: str, difference: Comparison | None) -> dict[str, str]:
    if difference is None:
        return dict.fromkeys(with_intervals(name), "–")
    intervals = (difference.over_seeds, difference.over_groups, difference.over_draws, difference.over_all)
    ends = [bounds(interval, signed) for interval in intervals]
    return dict(zip(with_intervals(name), [signed(difference.mean), *ends], strict=True))


def _measured(row: Mapping[str, Any], name: str, together: Callable[..., float]) -> float | None:
    """Over the finished trials, as far as they have it."""
    trials = [trial for trial in row["cells"] if trial["status"] == "finished"]
    values = [trial[name] for trial in trials if trial[name] is not None]
    return together(values) if values else None


def verdict_text(judged: JudgedRow) -> str:
    """The verdict; how many seeds did not finish, with their last loss; and what its neighbours do for a row
    that is compared with none.
    """
    text = judged.verdict
    for kind in (DIVERGED, FAILED):
        lost = [trial for trial in judged.unfinished if trial["status"] == kind]
        if lost:
            seeds = f"{len(lost)} of {len(judged.row['cells'])} seeds{_last_word(lost)}"
            text = f"{kind}: {seeds}" if text == kind else f"{text}; {kind}: {seeds}"
    if judged.gain_verdict and judged.gain_verdict != judged.verdict:
        text += f"; by the gain: {judged.gain_verdict} ({signed(judged.gain_difference.mean)})"
    if judged.verdict == REFERENCE and judged.gain:
        text = text.replace(REFERENCE, f"with its neighbours: {judged.outcome(judged.gain)}", 1)
    return text


def margin_text(judged: JudgedRow) -> str:
    """What a row that a paper calls equal has to lie within, and what it would lie within."""
    if judged.margin is None or judged.decisive is None:
        return "–"
    margin = judged.margin.value
    of = "there is none" if margin is None else f"it is ±{margin:.4f}"
    return f"would pass a margin of ±{judged.decisive.reach:.4f}; {of}"


def _apart_text(judged: JudgedRow) -> str:
    """The verdict on documents without near-duplicates."""
    if judged.verdict_apart is None or judged.decisive is None:
        return "–"
    same = judged.verdict_apart == judged.verdict
    return "the same" if same else judged.verdict_apart.removeprefix(f"{NO_CLAIM}: ")


def needed_text(judged: JudgedRow) -> str:
    """`5 seeds, 23 groups`: what would decide a row that is undecided, were mean and spread as seen."""
    numbers = (
        f">{MOST_NEEDED[noun]} {noun}s" if number is None else plural(number, noun)
        for noun, number in judged.needed.items()
    )
    return ", ".join(numbers) or "–"


def _last_word(lost: Sequence[Mapping]) -> str:
    losses = [trial["last_finite"]["nats"] for trial in lost if trial["last_finite"]]
    reasons = dict.fromkeys(trial["reason"] for trial in lost if trial["reason"])
    last = f", last finite loss {max(losses):.2f} nats" if losses else ""
    return last + (f" ({'; '.join(reasons)})" if reasons else "")


def notes(rows: Sequence[JudgedRow]) -> list[str]:
    """What there is to know about rows: how they were tuned, and every seed that did not finish."""
    named = {row.name: [row.row["note"], *map(_incident, row.unfinished)] for row in rows}
    return [f"{name}: {'; '.join(filter(None, texts))}" for name, texts in named.items() if any(texts)]


def _incident(trial: Mapping[str, Any]) -> str:
    """`seed 1 diverged; last finite loss 5.20 nats at step 31`"""
    text = f"seed {trial['seed']} {trial['status']}"
    if last := trial.get("last_finite"):
        text += f"; last finite loss {last['nats']:.2f} nats at step {last['step']:,}"
    return text + (f" ({trial['reason']})" if trial.get("reason") else "")


def null_sentence(check: NullCheck | None) -> str:
    """What came of the published form against itself; empty where it was not checked."""
    if check is None:
        return ""
    return (
        f"Null check: {check.of} against itself under other seeds, {check.seeds} against {check.seeds}, "
        f"comes out as “cannot tell” in {check.cannot_tell} of {check.draws} draws; the median of their "
        f"smallest detectable differences is {check.detectable:.4f} bits per byte."
    )
