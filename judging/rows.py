"""The rows of a study, judged: every number and verdict that is shown is computed here from the losses in
the file.

A row is one beside the row that it is compared `against`. They are paired: the same seeds, the same batches,
the same documents. Suffixes: s seed, d document.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.bits_per_byte import bits_per_byte
from judging.intervals import Comparison, Interval, bootstrap_ratio, paired_over_seeds
from judging.verdicts import DIVERGED, outcome, verdict_of_row, verdict_on_gain


@dataclass(frozen=True)
class JudgedRow:
    """A row of the file with what its losses allow one to say.

    Attributes:
        row: as it stands in the file.
        seeds: how many finished; `paired`: how many of them the row that it is against has too.
        bits_per_byte: mean over the finished seeds, None without any; `interval`: over documents.
        difference: this row − against; None for a reference, and where no seed is paired.
        gain: with neighbours − without, the same model; None for rows that were not evaluated without.
        gain_apart: the gain on documents without near-duplicates in training.
        gain_difference: this row's gain − that of the row it is against.
        verdict: a word of judging.verdicts, or how many seeds.
        gain_verdict: the verdict on `gain_difference`, where the paper expects a row to be better or worse
            and another model was trained for it: what two trainings differ in by chance is in their losses
            with and without neighbours alike, and leaves the gain. None elsewhere.
        unfinished: the trials that diverged or failed, by seed.
    """

    row: Mapping[str, Any]
    seeds: int
    paired: int
    bits_per_byte: float | None
    interval: Interval | None
    difference: Comparison | None
    gain: Comparison | None
    gain_apart: Comparison | None
    gain_difference: Comparison | None
    verdict: str
    gain_verdict: str | None
    unfinished: tuple[Mapping[str, Any], ...]

    @property
    def name(self) -> str:
        return self.row["name"]

    @property
    def detectable(self) -> float | None:
        """Bits per byte: the smallest difference that would have been; None on fewer than two seeds."""
        return None if self.difference is None else self.difference.detectable

    def outcome(self, difference: Comparison) -> str:
        """better, worse or cannot tell of this row's difference or gain; or why that is not to be said."""
        if self.verdict == DIVERGED:
            return DIVERGED
        return outcome(difference, self.paired if difference is self.difference else self.seeds)


def judge(results: Mapping) -> list[JudgedRow]:
    """Every row of `results`, in its order. No row is left out, whatever became of its seeds."""
    bytes_d = document_bytes(results)
    shared_d = np.array([document["shared_ngrams"] for document in results["documents"]])
    apart_d = shared_d < results["corpus"]["near_duplicate_threshold"]
    rows = {row["name"]: row for row in results["rows"]}
    return [_judged(row, rows.get(row["against"]), bytes_d, apart_d) for row in results["rows"]]


def document_bytes(results: Mapping) -> np.ndarray:
    """float64 [D]: UTF-8 bytes of every evaluated document."""
    return np.array([document["bytes"] for document in results["documents"]], np.float64)


def _judged(row: Mapping, against: Mapping | None, bytes_d: np.ndarray, apart_d: np.ndarray) -> JudgedRow:
    nats, off = losses(row), losses(row, "nats_off")
    theirs, theirs_off = ({}, {}) if against is None else (losses(against), losses(against, "nats_off"))
    nats_d = np.mean(list(nats.values()), axis=0) if nats else None
    difference = _compared(nats, theirs, bytes_d)
    gain_difference = _compared(_gains(nats, off), _gains(theirs, theirs_off), bytes_d)
    paired = len(nats.keys() & theirs.keys())
    return JudgedRow(
        row=row,
        seeds=len(nats),
        paired=paired,
        bits_per_byte=None if nats_d is None else bits_per_byte(nats_d, bytes_d),
        interval=None if nats_d is None else bootstrap_ratio(nats_d, bytes_d),
        difference=difference,
        gain=_compared(nats, off, bytes_d),
        gain_apart=_compared(_within(nats, apart_d), _within(off, apart_d), bytes_d[apart_d]),
        gain_difference=gain_difference,
        verdict=verdict_of_row(row, len(nats) if against is None else paired, difference),
        gain_verdict=verdict_on_gain(row, against, paired, gain_difference),
        unfinished=tuple(trial for trial in _by_seed(row) if trial["status"] != "finished"),
    )


def interaction(results: Mapping, a: str, b: str) -> Comparison | None:
    """(a − what a is against) − (b − what b is against) by the names of two rows, over the seeds that all
    four have: whether what a row changes depends on what else is there.
    """
    rows = {row["name"]: row for row in results["rows"]}
    own, other = ((losses(rows[name]), losses(rows[rows[name]["against"]])) for name in (a, b))
    beyond = lambda nats, theirs: {seed: nats[seed] - theirs[seed] for seed in nats if seed in theirs}
    return _compared(beyond(*own), beyond(*other), document_bytes(results))


def gain_interaction(results: Mapping, a: str, b: str) -> Comparison | None:
    """The gain on − off of row a − that of row b, by their names, over the seeds that both have."""
    rows = {row["name"]: row for row in results["rows"]}
    own, other = (_gains(losses(rows[name]), losses(rows[name], "nats_off")) for name in (a, b))
    return _compared(own, other, document_bytes(results))


def losses(row: Mapping, evaluation: str = "nats") -> dict[int, np.ndarray]:
    """Summed nats [D] by seed, of the seeds that finished; `nats_off` are those without neighbours."""
    return {
        trial["seed"]: np.array(trial[evaluation], np.float64)
        for trial in _by_seed(row)
        if trial["status"] == "finished" and trial[evaluation] is not None
    }


def _by_seed(row: Mapping) -> list[Mapping]:
    return sorted(row["cells"], key=lambda trial: trial["seed"])


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
