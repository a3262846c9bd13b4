"""The published form against itself: how often equal models would be called different."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from judging.documents import documents_of
from judging.intervals import paired_over_seeds
from judging.table import losses
from judging.verdicts import SEEDS_FOR_A_VERDICT

DRAWS = 20


@dataclass(frozen=True)
class NullCheck:
    """How many of the draws ended in `cannot tell`, and the median over the draws of the smallest detectable
    difference, in bits per byte.
    """

    of: str
    seeds: int
    draws: int
    cannot_tell: int
    detectable: float


def null_check(results: Mapping) -> NullCheck | None:
    """Whether the published form differs from itself: DRAWS times its seeds and those of `null` are dealt at
    random into two sets, paired at random, and judged on the documents of the table. (Drawn anew, they would
    scatter twice, and the intervals know of once.)

    Returns None where `null` is missing, or has too few finished seeds for two sets that can be judged.
    """
    if not results.get("null"):
        return None
    of = results["null"]["of"]
    reference = next(row for row in results["rows"] if row["name"] == of)
    nats = losses(reference) | losses(results["null"])
    half = len(nats) // 2
    if half < SEEDS_FOR_A_VERDICT:
        return None
    documents, nats_sd = documents_of(results), np.stack(list(nats.values()))
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(DRAWS):
        seeds = rng.permutation(len(nats_sd))
        a_sd, b_sd = nats_sd[seeds[:half]], nats_sd[seeds[half : 2 * half]]
        differences.append(paired_over_seeds(a_sd, b_sd, documents))
    undecided = sum(not difference.excludes_zero for difference in differences)
    median = float(np.median([difference.detectable for difference in differences]))
    return NullCheck(of, half, DRAWS, undecided, median)
