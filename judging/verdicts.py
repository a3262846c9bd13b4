"""The results of an ablation, read and judged: every number and verdict that is shown is computed here from
the losses in the file.

A row is a variant beside the row that it is compared `against`. They are paired: the same seeds, the same
batches, the same documents. Suffixes: s seed, d document.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.bits_per_byte import bits_per_byte
from judging.intervals import Comparison, Interval, bootstrap_ratio, paired_over_seeds

# Below three seeds nothing tells a better model from a luckier start.
SEEDS_FOR_A_VERDICT = 3
# Bits per byte: what the papers call equal has to lie within 1 % of a text's two bits per byte.
EQUAL_WITHIN = 0.02
SAME, OPPOSITE, CANNOT_TELL = "same direction", "opposite", "cannot tell at this size"
NO_CLAIM, REFERENCE = "the paper gives none", "reference"
DIVERGED, FAILED = "diverged", "failed"
NULL_DRAWS = 20


@dataclass(frozen=True)
class JudgedRow:
    """A row of the file with what its losses allow one to say.

    Attributes:
        row: as it stands in the file.
        seeds: how many finished; `paired`: how many of them the row that it is against has too.
        bits_per_byte: mean over the finished seeds, None without any; `interval`: over documents.
        difference: this row − against; None for a reference, and where no seed is paired.
        detectable: how large a difference would have had to be, in bits per byte: the larger half-width of
            the two intervals. None on fewer than two seeds.
        gain: with neighbours − without, the same model; None for rows that were not read without.
        gain_apart: the gain on documents without near-duplicates in training.
        gain_difference: this row's gain − that of the row it is against.
        verdict: one of the words above, what the row is where the paper gives none, or how many seeds.
        gain_verdict: the verdict on `gain_difference`, where the paper expects a row to be better or worse
            and another model was trained for it: what two trainings differ in by chance is in their losses
            with and without neighbours alike, and leaves the gain. None elsewhere.
        incidents: every seed that did not finish, in words.
    """

    row: Mapping[str, Any]
    seeds: int
    paired: int
    bits_per_byte: float | None
    interval: Interval | None
    difference: Comparison | None
    detectable: float | None
    gain: Comparison | None
    gain_apart: Comparison | None
    gain_difference: Comparison | None
    verdict: str
    gain_verdict: str | None
    incidents: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.row["name"]


@dataclass(frozen=True)
class NullCheck:
    """The published form against itself: how many of the draws ended in `cannot tell`, and the median over
    the draws of the difference that could have been seen, in bits per byte.
    """

    of: str
    seeds: int
    draws: int
    cannot_tell: int
    detectable: float


def judge(results: Mapping) -> list[JudgedRow]:
    """Every row of `results`, in its order. No row is left out, whatever became of its seeds."""
    bytes_d = _bytes(results)
    shared_d = np.array([document["shared_ngrams"] for document in results["documents"]])
    apart_d = shared_d < results["corpus"]["near_duplicate_threshold"]
    rows = {row["name"]: row for row in results["rows"]}
    return [_judged(row, rows.get(row["against"]), bytes_d, apart_d) for row in results["rows"]]


def _bytes(results: Mapping) -> np.ndarray:
    return np.array([document["bytes"] for document in results["documents"]], np.float64)


def _judged(row: Mapping, against: Mapping | None, bytes_d: np.ndarray, apart_d: np.ndarray) -> JudgedRow:
    nats, off = losses(row), losses(row, "nats_off")
    theirs, theirs_off = ({}, {}) if against is None else (losses(against), losses(against, "nats_off"))
    nats_d = np.mean(list(nats.values()), axis=0) if nats else None
    difference = _compared(nats, theirs, bytes_d)
    gain_difference = _compared(_gains(nats, off), _gains(theirs, theirs_off), bytes_d)
    paired, incidents = len(nats.keys() & theirs.keys()), _incidents(row)
    return JudgedRow(
        row=row,
        seeds=len(nats),
        paired=paired,
        bits_per_byte=None if nats_d is None else bits_per_byte(nats_d, bytes_d),
        interval=None if nats_d is None else bootstrap_ratio(nats_d, bytes_d),
        difference=difference,
        detectable=detectable(difference),
        gain=_compared(nats, off, bytes_d),
        gain_apart=_compared(_within(nats, apart_d), _within(off, apart_d), bytes_d[apart_d]),
        gain_difference=gain_difference,
        verdict=_verdict(row, len(nats) if against is None else paired, difference),
        gain_verdict=_gain_verdict(row, against, paired, gain_difference),
        incidents=incidents,
    )


def interaction(results: Mapping, a: str, b: str) -> Comparison | None:
    """(a − what a is against) − (b − what b is against) by the names of two rows, over the seeds that all
    four have: whether what a row changes depends on what else is there.
    """
    rows = {row["name"]: row for row in results["rows"]}
    sides = []
    for name in (a, b):
        nats, theirs = losses(rows[name]), losses(rows[rows[name]["against"]])
        sides.append({seed: nats[seed] - theirs[seed] for seed in nats if seed in theirs})
    return _compared(*sides, _bytes(results))


def gain_interaction(results: Mapping, a: str, b: str) -> Comparison | None:
    """The gain on − off of row a − that of row b, by their names, over the seeds that both have."""
    rows = {row["name"]: row for row in results["rows"]}
    gains = [_gains(losses(rows[name]), losses(rows[name], "nats_off")) for name in (a, b)]
    return _compared(*gains, _bytes(results))


def losses(row: Mapping, reading: str = "nats") -> dict[int, np.ndarray]:
    """Summed nats [D] by seed, of the seeds that finished; `nats_off` are those without neighbours."""
    cells = sorted(row["cells"], key=lambda cell: cell["seed"])
    return {
        cell["seed"]: np.array(cell[reading], np.float64)
        for cell in cells
        if cell["status"] == "finished" and cell[reading] is not None
    }


def _gains(nats: Mapping[int, np.ndarray], off: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    return {seed: nats[seed] - off[seed] for seed in off}


def _within(nats: Mapping[int, np.ndarray], inside_d: np.ndarray) -> dict[int, np.ndarray]:
    """The losses of some documents; none at all where these are none."""
    return {seed: nats_d[inside_d] for seed, nats_d in nats.items()} if inside_d.any() else {}


def _compared(a: Mapping, b: Mapping, bytes_d: np.ndarray) -> Comparison | None:
    """a − b over the seeds that both have; None where that is none."""
    seeds = [seed for seed in a if seed in b]
    if not seeds:
        return None
    nats_a, nats_b = (np.stack([nats[seed] for seed in seeds]) for nats in (a, b))
    return paired_over_seeds(nats_a, nats_b, bytes_d)


def detectable(difference: Comparison | None) -> float | None:
    """Bits per byte: the larger half-width of a difference's intervals; None on fewer than two seeds."""
    if difference is None or difference.over_seeds is None:
        return None
    return max((interval.high - interval.low) / 2 for interval in _intervals(difference))


def better_or_worse(difference: Comparison) -> str:
    """What a row is by itself, for lack of a published direction."""
    if not difference.excludes_zero:
        return "cannot tell"
    return "better" if difference.mean < 0 else "worse"


def _verdict(row: Mapping, seeds: int, difference: Comparison | None) -> str:
    """A row that diverged is not judged by the seeds that did not: they are the lucky ones."""
    states = {cell["status"] for cell in row["cells"]}
    if DIVERGED in states:
        return DIVERGED
    if seeds < SEEDS_FOR_A_VERDICT:
        return FAILED if FAILED in states else seeds_text(seeds)
    if difference is None:
        return REFERENCE
    claim = row["paper"] and row["paper"]["expects"]
    if claim is None:
        return f"{NO_CLAIM}: {better_or_worse(difference)}"
    if claim == "equal":
        if all(max(-found.low, found.high) <= EQUAL_WITHIN for found in _intervals(difference)):
            return SAME
        return OPPOSITE if difference.excludes_zero else CANNOT_TELL
    return _direction(claim, difference)


def _gain_verdict(
    row: Mapping, against: Mapping | None, seeds: int, gain_difference: Comparison | None
) -> str | None:
    claim = row["paper"] and row["paper"]["expects"]
    if gain_difference is None or seeds < SEEDS_FOR_A_VERDICT or claim not in ("worse", "better"):
        return None
    cells, theirs = ({cell["cell"] for cell in each["cells"]} for each in (row, against))
    return None if cells == theirs else _direction(claim, gain_difference)


def _direction(claim: str, difference: Comparison) -> str:
    if not difference.excludes_zero:
        return CANNOT_TELL
    return SAME if better_or_worse(difference) == claim else OPPOSITE


def _intervals(difference: Comparison) -> list[Interval]:
    return [found for found in (difference.over_seeds, difference.over_documents) if found is not None]


def _incidents(row: Mapping) -> tuple[str, ...]:
    """`seed 1 diverged after step 31 (5.20 nats)`: the seeds that did not finish."""
    return tuple(_incident(cell) for cell in sorted(row["cells"], key=lambda cell: cell["seed"])
                 if cell["status"] != "finished")  # fmt: skip


def _incident(cell: Mapping) -> str:
    text = f"seed {cell['seed']} {cell['status']}"
    if last := cell.get("last_finite"):
        text += f"; last finite loss {last['nats']:.2f} nats at step {last['step']:,}"
    return text + (f" ({cell['reason']})" if cell.get("reason") else "")


def null_check(results: Mapping) -> NullCheck | None:
    """Whether the published form differs from itself: NULL_DRAWS times its seeds and those of `null` are
    dealt at random into two sets, paired at random, and judged on documents drawn with replacement.

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
    nats_sd = np.stack(list(nats.values()))
    bytes_d = _bytes(results)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(NULL_DRAWS):
        seeds, drawn = rng.permutation(len(nats_sd)), rng.integers(len(bytes_d), size=len(bytes_d))
        a_sd, b_sd = nats_sd[seeds[:half]][:, drawn], nats_sd[seeds[half : 2 * half]][:, drawn]
        found.append(paired_over_seeds(a_sd, b_sd, bytes_d[drawn]))
    return NullCheck(
        of=of,
        seeds=half,
        draws=NULL_DRAWS,
        cannot_tell=sum(not difference.excludes_zero for difference in found),
        detectable=float(np.median([detectable(difference) for difference in found])),
    )


def seeds_text(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"
