"""95 % intervals for bits per byte and for the difference between two models.

Two sources of chance are kept apart. Which documents were held out: a percentile bootstrap that draws
documents with replacement, each with its nats and its bytes together, since bits per byte is a ratio of sums
(Efron & Tibshirani, 1993). Which seed a model was trained from: Student's t over the paired differences of
the seeds. A difference counts when neither leaves room for zero. Suffixes: s seed, d document.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 2000
# Fixed, so that a report is reproducible and models over the same documents meet the same resamples.
RESAMPLING_SEED = 0
DRAWS_AT_ONCE = 2**20


@dataclass(frozen=True)
class Interval:
    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __iter__(self) -> Iterator[float]:
        """low, high."""
        return iter((self.low, self.high))


@dataclass(frozen=True)
class Comparison:
    """Bits per byte of a minus b: the mean over seeds and documents, and an interval for either source of
    chance.

    An interval is None where nothing can be resampled: fewer than two seeds, fewer than two documents.
    """

    mean: float
    over_seeds: Interval | None
    over_documents: Interval | None

    @property
    def intervals(self) -> list[Interval]:
        """Those that are known."""
        return [interval for interval in (self.over_seeds, self.over_documents) if interval is not None]

    @property
    def excludes_zero(self) -> bool:
        return bool(self.intervals) and all(0.0 not in interval for interval in self.intervals)

    @property
    def detectable(self) -> float | None:
        """How large a difference would have had to be: the larger half-width of the intervals; None on fewer
        than two seeds.
        """
        if self.over_seeds is None:
            return None
        return max((interval.high - interval.low) / 2 for interval in self.intervals)


def bootstrap_ratio(nats: Sequence[float], num_bytes: Sequence[float]) -> Interval | None:
    """Interval over documents for Σ nats / ln 2 / Σ bytes; None for a single document.

    Args:
        nats: [D], each document's summed loss. For a model's mean over seeds, the mean over seeds.
        num_bytes: [D], each document's UTF-8 bytes.
    """
    nats_and_bytes = np.stack([nats, num_bytes]).astype(np.float64)
    num_documents = nats_and_bytes.shape[1]
    if num_documents < 2:
        return None
    rng = np.random.default_rng(RESAMPLING_SEED)
    rows = max(1, DRAWS_AT_ONCE // num_documents)
    draws = (
        rng.integers(num_documents, size=(min(rows, RESAMPLES - start), num_documents))
        for start in range(0, RESAMPLES, rows)
    )
    sums = np.concatenate([nats_and_bytes[:, draw_rd].sum(axis=-1) for draw_rd in draws], axis=1)
    nats_sums, bytes_sums = sums
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(nats_sums / np.log(2) / bytes_sums, [tail, 1 - tail])
    return Interval(float(low), float(high))


def paired_difference(
    nats_a: Sequence[float], nats_b: Sequence[float], num_bytes: Sequence[float]
) -> Interval | None:
    """Interval over documents for a's bits per byte minus b's: every resample [D] is drawn for both."""
    return bootstrap_ratio(np.subtract(nats_a, nats_b), num_bytes)


def paired_over_seeds(nats_a: np.ndarray, nats_b: np.ndarray, num_bytes: Sequence[float]) -> Comparison:
    """a's bits per byte minus b's, for models trained from the same S seeds and evaluated on the same D
    documents.

    Args:
        nats_a, nats_b: [S, D], row s of both from the same seed.
        num_bytes: [D].
    """
    nats_sd = np.asarray(nats_a, np.float64) - np.asarray(nats_b, np.float64)
    differences_s = nats_sd.sum(axis=1) / np.log(2) / np.sum(num_bytes)
    return Comparison(
        mean=float(differences_s.mean()),
        over_seeds=_student_t(differences_s),
        over_documents=bootstrap_ratio(nats_sd.mean(axis=0), num_bytes),
    )


def _student_t(values_s: np.ndarray) -> Interval | None:
    if len(values_s) < 2:
        return None
    half_width = stats.t.ppf((1 + CONFIDENCE) / 2, len(values_s) - 1) * stats.sem(values_s)
    return Interval(float(values_s.mean() - half_width), float(values_s.mean() + half_width))
