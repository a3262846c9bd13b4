"""How bits per byte fall with training compute: a law through the best size of every budget, and how far the
choice of seeds and of groups of documents moves it.

    bits(C) = a + b·C^(−c), a, b ≥ 0      where there are four budgets or more
    bits(C) = a − b·ln C                  where there are three

Suffixes: n point (a model of some size at some budget), b budget, s seed, d document, g group, r resample.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from judging.documents import Documents
from judging.intervals import CONFIDENCE, Interval

RESAMPLES = 500
RESAMPLING_SEED = 0  # fixed: no verdict hangs on a law
# One more than a law has numbers: through as many points as numbers every law goes, and none is tested.
BUDGETS_FOR_A_LINE, BUDGETS_FOR_A_POWER = 3, 4
EXPONENTS = np.geomspace(1e-3, 3.0, 200)
REFINEMENTS = 3  # each narrows the exponent's neighbourhood a hundredfold


@dataclass(frozen=True)
class Law:
    """c is None for the straight line in ln C. C is in units of `scale`, so that a and b are of the size of
    bits per byte.
    """

    a: float
    b: float
    c: float | None
    scale: float

    def __call__(self, flops: float | np.ndarray) -> float | np.ndarray:
        """Bits per byte at so many training FLOPs."""
        relative = np.asarray(flops, np.float64) / self.scale
        return self.a - self.b * np.log(relative) if self.c is None else self.a + self.b * relative**-self.c


@dataclass(frozen=True)
class ScalingFit:
    """law: of all seeds and groups. resampled: of seeds and groups drawn again. best: per budget, the
    index of the point with the fewest bits per byte. budgets: those of `best`, ascending.
    """

    law: Law
    resampled: tuple[Law, ...]
    budgets: tuple[float, ...]
    best: tuple[int, ...]

    def interval(self, flops: float) -> Interval:
        """95 % of the resampled laws at `flops`."""
        return _percentiles([law(flops) for law in self.resampled])

    @property
    def exponent(self) -> Interval | None:
        """95 % of the resampled exponents; None for a line."""
        return None if self.law.c is None else _percentiles([law.c for law in self.resampled])


def fit_law(budgets: Sequence[float], bits: Sequence[float]) -> Law:
    """The law by least squares.

    Args:
      budgets: [B] training FLOPs, at least two different ones.
      bits: [B] bits per byte.
    """
    [law] = _laws(np.asarray(budgets, np.float64), np.asarray(bits, np.float64)[None])
    return law


def fit_scaling(
    budgets: Sequence[float], nats: Sequence[np.ndarray], documents: Documents
) -> ScalingFit | None:
    """The law of the best point of every budget; None where there are fewer than three budgets.

    Which is best is decided anew in every resample, and seeds are drawn for all points alike, as far as they
    have as many: what they share does not count as chance twice. Drawing three seeds again understates how
    far a fourth might lie; with few seeds the interval is a lower bound of the doubt.

    Args:
      budgets: [N] training FLOPs.
      nats: N arrays [S, D]; S may differ.
    """
    budgets_n, bytes_g = np.asarray(budgets, np.float64), documents.bytes_g
    budgets_b = np.unique(budgets_n)
    if len(budgets_b) < BUDGETS_FOR_A_LINE:
        return None
    rng = np.random.default_rng(RESAMPLING_SEED)
    counts_rg = rng.multinomial(len(bytes_g), np.full(len(bytes_g), 1 / len(bytes_g)), size=RESAMPLES)
    sums = [documents.sums(nats_sd) for nats_sd in nats]
    draws_rs = rng.random((RESAMPLES, max(map(len, sums))))
    whole_n = np.array([nats_sg.sum() / len(nats_sg) for nats_sg in sums]) / np.log(2) / bytes_g.sum()
    bits_rn = np.stack([_resampled(nats_sg, counts_rg, draws_rs) for nats_sg in sums], axis=1)
    bits_rn /= np.log(2) * (counts_rg @ bytes_g)[:, None]
    at_budget = [np.flatnonzero(budgets_n == budget) for budget in budgets_b]
    best = tuple(int(points[np.argmin(whole_n[points])]) for points in at_budget)
    bits_rb = np.stack([bits_rn[:, points].min(axis=1) for points in at_budget], axis=1)
    law, *resampled = _laws(budgets_b, np.concatenate([whole_n[None, list(best)], bits_rb]))
    return ScalingFit(law, tuple(resampled), tuple(map(float, budgets_b)), best)


def _resampled(nats_sg: np.ndarray, counts_rg: np.ndarray, draws_rs: np.ndarray) -> np.ndarray:
    """[R]: summed nats over the drawn groups, mean over as many drawn seeds as there are."""
    nats_rs = counts_rg @ nats_sg.T
    seeds = nats_rs.shape[1]
    return np.take_along_axis(nats_rs, (draws_rs[:, :seeds] * seeds).astype(int), axis=1).mean(axis=1)


def _laws(budgets_b: np.ndarray, bits_rb: np.ndarray) -> list[Law]:
    """For every row the law of least squares: of each exponent the best a and b are known in closed form, so
    that only the exponent is searched, in ever narrower grids around the best.
    """
    scale = float(np.exp(np.log(budgets_b).mean()))
    relative_b = np.log(budgets_b / scale)
    if len(budgets_b) < BUDGETS_FOR_A_POWER:
        slopes, intercepts = np.polyfit(relative_b, bits_rb.T, 1)
        return [Law(float(a), float(-b), None, scale) for a, b in zip(intercepts, slopes)]
    exponents_rc = np.broadcast_to(EXPONENTS, (len(bits_rb), len(EXPONENTS)))
    step = np.log(EXPONENTS[1] / EXPONENTS[0])
    for _ in range(REFINEMENTS):
        a, b, error = _non_negative(np.exp(-exponents_rc[..., None] * relative_b), bits_rb[:, None])
        best = error.argmin(axis=1)[:, None]
        a, b, c = (np.take_along_axis(x_rc, best, axis=1)[:, 0] for x_rc in (a, b, exponents_rc))
        around = np.exp(np.linspace(-step, step, len(EXPONENTS)))
        exponents_rc = np.clip(c[:, None] * around, EXPONENTS[0], EXPONENTS[-1])
        step *= 2 / len(EXPONENTS)
    return [Law(float(a), float(b), float(c), scale) for a, b, c in zip(a, b, c)]


def _non_negative(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a, b ≥ 0 of y ≈ a + b·x by least squares along the last axis, and the squared error. Where the free
    optimum has one below zero, the optimum lies where that one is zero.
    """
    mean_x, mean_y = x.mean(axis=-1), y.mean(axis=-1)
    b = ((x - mean_x[..., None]) * (y - mean_y[..., None])).sum(axis=-1)
    b = b / ((x - mean_x[..., None]) ** 2).sum(axis=-1)
    a = mean_y - b * mean_x
    through_zero = (x * y).sum(axis=-1) / (x**2).sum(axis=-1)
    a, b = np.where(a < 0, 0.0, a), np.where(a < 0, through_zero, b)
    a, b = np.where(b < 0, mean_y, a), np.where(b < 0, 0.0, b)
    return a, b, ((a[..., None] + b[..., None] * x - y) ** 2).sum(axis=-1)


def _percentiles(values: Sequence[float]) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high))
