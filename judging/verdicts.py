"""What may be said of a difference: the words of a verdict, and the rules by which one is reached.

A verdict needs SEEDS_FOR_A_VERDICT seeds, GROUPS_FOR_A_VERDICT groups of documents, DRAWS_FOR_A_VERDICT draws
where a database is drawn, and every interval without zero.
"""

from collections.abc import Mapping
from typing import Any

from judging.intervals import Comparison

# Below three seeds nothing tells a better model from a luckier start.
SEEDS_FOR_A_VERDICT = 3
# Below fifteen groups the interval over them covers less than it says: one may be all there is to see.
GROUPS_FOR_A_VERDICT = 15
DRAWS_FOR_A_VERDICT = 5
LEAST = {"seed": SEEDS_FOR_A_VERDICT, "group": GROUPS_FOR_A_VERDICT, "draw": DRAWS_FOR_A_VERDICT}
BETTER, WORSE, UNDECIDED = "better", "worse", "cannot tell"
SAME, OPPOSITE, CANNOT_TELL = "same direction", "opposite", "cannot tell at this size"
NO_CLAIM, REFERENCE = "the paper gives none", "reference"
CHOSEN = "no verdict on chosen rows"
DIVERGED, FAILED = "diverged", "failed"


def number_text(number: int, noun: str) -> str:
    """What stands where a verdict would, when these are too few for one: `2 seeds`, `5 groups`, `1 draw`."""
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"


def too_few(difference: Comparison, least: Mapping[str, int] = LEAST) -> str | None:
    """What there are too few of for a verdict; None where there are enough."""
    for noun, spread in difference.spreads.items():
        if spread.number < least[noun]:
            return number_text(spread.number, noun)
    return None


def better_or_worse(difference: float, excludes_zero: bool) -> str:
    """What a model is by itself, without a published direction.

    Args:
        difference: in bits per byte, so that below zero is better.
        excludes_zero: whether every known interval does.
    """
    if not excludes_zero:
        return UNDECIDED
    return BETTER if difference < 0 else WORSE


def outcome(difference: Comparison, least: Mapping[str, int] = LEAST) -> str:
    """`better_or_worse` of a comparison, or what there are too few of."""
    return too_few(difference, least) or better_or_worse(difference.mean, difference.excludes_zero)


def verdict_of_row(
    row: Mapping[str, Any], seeds: int, difference: Comparison | None, margin: float | None,
    least: Mapping[str, int] = LEAST,
) -> str:  # fmt: skip
    """The verdict on a row's `difference` over so many paired seeds.

    A row that diverged is not judged by the seeds that did not: they are the lucky ones. Equal is what lies
    within `margin` in every interval, and the opposite what lies outside in every one; where no margin can be
    stated, neither can be told.
    """
    states = {trial["status"] for trial in row["cells"]}
    if DIVERGED in states:
        return DIVERGED
    if seeds < SEEDS_FOR_A_VERDICT:
        return FAILED if FAILED in states else number_text(seeds, "seed")
    if difference is None:
        return REFERENCE
    if few := too_few(difference, least):
        return few
    claim = claim_of(row)
    if claim is None:
        return f"{NO_CLAIM}: {outcome(difference, least)}"
    return _equality(difference, margin) if claim == "equal" else _direction(claim, difference, least)


def verdict_on_gain(
    row: Mapping[str, Any], against: Mapping[str, Any] | None, gain_difference: Comparison | None
) -> str | None:
    """The verdict on the difference of two gains; None where it says nothing new: the paper does not expect
    one row to be better or worse, or both are evaluations of the same trials.
    """
    if gain_difference is None or too_few(gain_difference) or claim_of(row) not in (WORSE, BETTER):
        return None
    trials, theirs = ({trial["cell"] for trial in each["cells"]} for each in (row, against))
    return None if trials == theirs else _direction(claim_of(row), gain_difference, LEAST)


def claim_of(row: Mapping[str, Any]) -> str | None:
    """What the paper expects of a row: worse, better or equal."""
    return row["paper"] and row["paper"]["expects"]


def _direction(claim: str, difference: Comparison, least: Mapping[str, int]) -> str:
    verdict = outcome(difference, least)
    return CANNOT_TELL if verdict == UNDECIDED else SAME if verdict == claim else OPPOSITE


def _equality(difference: Comparison, margin: float | None) -> str:
    if margin is None:
        return CANNOT_TELL
    if difference.reach <= margin:
        return SAME
    outside = all(interval.low > margin or interval.high < -margin for interval in difference.intervals)
    return OPPOSITE if outside else CANNOT_TELL
