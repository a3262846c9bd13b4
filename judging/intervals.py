"""95 % intervals for bits per byte and for the difference between two models, and what would narrow them.

Sources of chance are kept apart, and each has its standard error and Student's t. Which seed a model was
trained from: over the paired differences of the seeds. Which documents were held out: the jackknife over
groups (Efron & Tibshirani, 1993, chapter 11) of bits per byte, a ratio of sums, on the degrees of freedom of
as many groups of one size as carry as much (Kish, 1965). Which documents a smaller database was drawn from:
over the draws. Each is seen beside the others as they fell, so there is an interval of all together, too:
errors add in squares, on the degrees of freedom of Welch and Satterthwaite (1946). A difference counts when
none leaves room for zero.

Nothing is resampled, so no resampling seed can turn a verdict. With groups as unequal as those held out here
it covers 94 to 96 % where it says 95 (tests/judging/test_coverage.py), and the analytic bootstrap 83 to 91.
Suffixes: s seed, r draw, d document, g group.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from judging.documents import Documents

CONFIDENCE = 0.95
MOST_NEEDED = {"seed": 100, "group": 1000, "draw": 100}  # beyond, no number is given


@dataclass(frozen=True)
class Interval:
    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __iter__(self) -> Iterator[float]:
        """low, high."""
        return iter((self.low, self.high))

    @property
    def reach(self) -> float:
        """How far from zero it extends."""
        return max(-self.low, self.high)


@dataclass(frozen=True)
class Spread:
    """A mean, and how far one source of chance may have moved it.

    Attributes:
        error: the standard error, on `freedom` degrees of freedom.
        number: of seeds, groups or draws that it was seen over; over one nothing is known.
    """

    mean: float
    error: float
    freedom: float
    number: int

    @property
    def interval(self) -> Interval | None:
        """None over a single one."""
        if self.number < 2:
            return None
        half_width = _quantile(self.freedom) * self.error
        return Interval(float(self.mean - half_width), float(self.mean + half_width))

    @property
    def p_value(self) -> float:
        """Two-sided, of a mean of zero; 1 over a single one."""
        if self.number < 2 or self.mean == 0:
            return 1.0
        return float(2 * stdtr(self.freedom, -abs(self.mean) / self.error)) if self.error else 0.0

    def over(self, number: int) -> "Spread":
        """What it would be over so many, were mean and deviation as they are seen."""
        error = self.error * np.sqrt(self.number / number)
        return Spread(self.mean, error, (self.freedom + 1) * number / self.number - 1, number)

    def needed(self, distance: float, most: int) -> int | None:
        """Over how many the interval would reach less than `distance` to either side, were mean and deviation
        as they are seen; None where even `most` would not do.
        """
        if self.number < 2:
            return None
        numbers = np.arange(self.number, max(self.number, most) + 1)
        freedom = (self.freedom + 1) * numbers / self.number - 1
        enough = _quantile(freedom) * self.error * np.sqrt(self.number / numbers) < distance
        return int(numbers[enough.argmax()]) if enough.any() else None


@dataclass(frozen=True)
class Comparison:
    """Bits per byte of a minus b: the mean, and its spread by every source of chance.

    draws: None unless one of the two was evaluated on documents drawn for its database.
    """

    mean: float
    seeds: Spread
    groups: Spread
    draws: Spread | None = None

    @property
    def spreads(self) -> dict[str, Spread]:
        """By what they are over."""
        named = {"seed": self.seeds, "group": self.groups, "draw": self.draws}
        return {name: spread for name, spread in named.items() if spread is not None}

    @property
    def over_seeds(self) -> Interval | None:
        return self.seeds.interval

    @property
    def over_groups(self) -> Interval | None:
        return self.groups.interval

    @property
    def over_draws(self) -> Interval | None:
        return None if self.draws is None else self.draws.interval

    @property
    def together(self) -> Spread | None:
        """All sources of chance at once; None where one of them is not known."""
        return _together(list(self.spreads.values()))

    @property
    def over_all(self) -> Interval | None:
        return None if self.together is None else self.together.interval

    @property
    def intervals(self) -> list[Interval]:
        """Those that are known."""
        known = [*(spread.interval for spread in self.spreads.values()), self.over_all]
        return [interval for interval in known if interval is not None]

    @property
    def excludes_zero(self) -> bool:
        return bool(self.intervals) and all(0.0 not in interval for interval in self.intervals)

    @property
    def reach(self) -> float:
        """How far from zero the intervals extend: the smallest margin that all of them lie within."""
        return max((interval.reach for interval in self.intervals), default=np.inf)

    @property
    def p_value(self) -> float:
        """The largest over the sources of chance: the test that neither one of them nor all together explain
        the difference (intersection-union).
        """
        together = [] if self.together is None else [self.together]
        return max(spread.p_value for spread in [*self.spreads.values(), *together])

    def needed(self, distance: float) -> dict[str, int | None]:
        """By source of chance, over how many each interval and that of all together would reach less than
        `distance` to either side; None where MOST_NEEDED would not do.
        """
        numbers = {noun: spread.needed(distance, MOST_NEEDED[noun]) for noun, spread in self.spreads.items()}
        while None not in numbers.values():
            grown = _together([spread.over(numbers[noun]) for noun, spread in self.spreads.items()])
            if grown is None or _quantile(grown.freedom) * grown.error < distance:
                break
            more = {noun: max(number + 1, round(1.1 * number)) for noun, number in numbers.items()}
            numbers = {noun: number if number <= MOST_NEEDED[noun] else None for noun, number in more.items()}
        return numbers

    @property
    def detectable(self) -> float | None:
        """How large a difference would have had to be: the largest half-width of the intervals; None on fewer
        than two seeds.
        """
        if self.over_seeds is None:
            return None
        return max((interval.high - interval.low) / 2 for interval in self.intervals)


def ratio(nats_d: np.ndarray, documents: Documents) -> Spread:
    """Σ nats / ln 2 / Σ bytes, and its spread over the groups, by leaving out one after the other.

    Args:
        nats_d: [D], each document's summed loss, or the difference of two models'. For a mean over seeds, the
            mean over seeds.
    """
    return _over_groups(documents.sums(nats_d), documents.bytes_g)


def paired_over_seeds(nats_a: np.ndarray, nats_b: np.ndarray, documents: Documents) -> Comparison:
    """a's bits per byte minus b's, for models trained from the same S seeds and evaluated on the same D
    documents.

    Args:
        nats_a, nats_b: [S, D], row s of both from the same seed.
    """
    return comparison((np.asarray(nats_a, np.float64) - np.asarray(nats_b, np.float64))[:, None], documents)


def comparison(nats_srd: np.ndarray, documents: Documents, drawn: bool = False) -> Comparison:
    """What differences of nats [S, R, D] come to, of S seeds and R draws of a database.

    drawn: whether the draws are a source of chance; otherwise there is one draw, and nothing to draw.
    """
    nats_srg, bits = documents.sums(nats_srd), np.log(2) * documents.bytes_g.sum()
    bits_sr = nats_srg.sum(axis=2) / bits
    groups = _over_groups(nats_srg.mean(axis=(0, 1)), documents.bytes_g)
    draws = _over_equals(bits_sr.mean(axis=0)) if drawn else None
    return Comparison(float(bits_sr.mean()), _over_equals(bits_sr.mean(axis=1)), groups, draws)


def _over_groups(nats_g: np.ndarray, bytes_g: np.ndarray) -> Spread:
    """The jackknife: without a group of nats x and bytes y of all X and Y, the ratio θ = X / Y moves by
    (θy − x) / (Y − y).
    """
    number, all_bytes = len(bytes_g), bytes_g.sum()
    mean = nats_g.sum() / all_bytes
    if number < 2:
        return Spread(float(mean / np.log(2)), np.inf, 0.0, number)
    moved_g = (mean * bytes_g - nats_g) / (all_bytes - bytes_g)
    error = np.sqrt((number - 1) / number * (moved_g**2).sum())
    alike = all_bytes**2 / (bytes_g**2).sum()
    return Spread(float(mean / np.log(2)), float(error / np.log(2)), float(max(alike - 1, 1.0)), number)


def _together(spreads: list[Spread]) -> Spread | None:
    squares = np.array([spread.error**2 for spread in spreads])
    if any(spread.number < 2 for spread in spreads):
        return None
    terms = squares**2 / np.array([spread.freedom for spread in spreads])
    freedom = squares.sum() ** 2 / terms.sum() if terms.any() else min(s.freedom for s in spreads)
    error = float(np.sqrt(squares.sum()))
    return Spread(spreads[0].mean, error, float(freedom), min(spread.number for spread in spreads))


def _over_equals(values: np.ndarray) -> Spread:
    """Student's t of a mean."""
    mean, number = float(values.mean()), len(values)
    if number < 2:
        return Spread(mean, np.inf, 0.0, number)
    return Spread(mean, float(values.std(ddof=1) / np.sqrt(number)), number - 1.0, number)


def _quantile(freedom: float | np.ndarray) -> np.ndarray:
    return stdtrit(freedom, (1 + CONFIDENCE) / 2)
