"""What may be said of a difference: the words of a verdict, and the rules by which one is reached.

A verdict needs SEEDS_FOR_A_VERDICT seeds, and every known interval without zero.
"""

from collections.abc import Mapping
from typing import Any

from judging.intervals import Comparison

# Below three seeds nothing tells a better model from a luckier start.
SEEDS_FOR_A_VERDICT = 3
# Bits per byte: what the papers call equal has to lie within 1 % of a text's two bits per byte.
EQUAL_WITHIN = 0.02
BETTER, WORSE, UNDECIDED = "better", "worse", "cannot tell"
SAME, OPPOSITE, CANNOT_TELL = "same direction", "opposite", "cannot tell at this size"
NO_CLAIM, REFERENCE = "the paper gives none", "reference"
DIVERGED, FAILED = "diverged", "failed"


def seeds_text(seeds: int) -> str:
    """What stands where a verdict would, when the seeds are too few for one."""
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


def better_or_worse(difference: float, excludes_zero: bool, seeds: int) -> str:
    """What a model is by itself, without a published direction.

    Args:
        difference: in bits per byte, so that below zero is better.
        excludes_zero: whether every known interval does.
        seeds: over which it is a mean.
    """
    if seeds < SEEDS_FOR_A_VERDICT:
        return seeds_text(seeds)
    if not excludes_zero:
        return UNDECIDED
    return BETTER if difference < 0 else WORSE


def outcome(difference: Comparison, seeds: int) -> str:
    """`better_or_worse` of a comparison."""
    return better_or_worse(difference.mean, difference.excludes_zero, seeds)


def verdict_of_row(row: Mapping[str, Any], seeds: int, difference: Comparison | None) -> str:
    """The verdict on a row's `difference` over so many paired seeds.

    A row that diverged is not judged by the seeds that did not: they are the lucky ones.
    """
    states = {trial["status"] for trial in row["cells"]}
    if DIVERGED in states:
        return DIVERGED
    if seeds < SEEDS_FOR_A_VERDICT:
        return FAILED if FAILED in states else seeds_text(seeds)
    if difference is None:
        return REFERENCE
    claim = row["paper"] and row["paper"]["expects"]
    if claim is None:
        return f"{NO_CLAIM}: {outcome(difference, seeds)}"
    if claim == "equal":
        if all(max(-interval.low, interval.high) <= EQUAL_WITHIN for interval in difference.intervals):
            return SAME
        return OPPOSITE if difference.excludes_zero else CANNOT_TELL
    return _direction(claim, difference, seeds)


def verdict_on_gain(
    row: Mapping[str, Any], against: Mapping[str, Any] | None, seeds: int, gain_difference: Comparison | None
) -> str | None:
    """The verdict on the difference of two gains; None where it says nothing new: the paper does not expect
    one row to be better or worse, or both are evaluations of the same trials.
    """
    claim = row["paper"] and row["paper"]["expects"]
    if gain_difference is None or seeds < SEEDS_FOR_A_VERDICT or claim not in (WORSE, BETTER):
        return None
    trials, theirs = ({trial["cell"] for trial in each["cells"]} for each in (row, against))
    return None if trials == theirs else _direction(claim, gain_difference, seeds)


def _direction(claim: str, difference: Comparison, seeds: int) -> str:
    verdict = outcome(difference, seeds)
    return CANNOT_TELL if verdict == UNDECIDED else SAME if verdict == claim else OPPOSITE
