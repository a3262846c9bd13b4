"""The fit finds the law that data were drawn from, and its interval covers it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judging.scaling_law import fit_law, fit_scaling
from tests.judging.test_intervals import each_its_own

LN2 = np.log(2)
BUDGETS = np.array([1e12, 3e12, 1e13, 3e13])
few = settings(max_examples=40, deadline=None)


def losses(bits, bytes_d, rng, seeds=3, noise=0.0, between=0.0):
    """Nats [S, D] of a model of so many bits per byte: documents and seeds scatter around it."""
    seeds_s = between * rng.standard_normal((seeds, 1))
    return (bits + seeds_s + noise * rng.standard_normal((seeds, len(bytes_d)))) * bytes_d * LN2


@few
@given(a=st.floats(0, 2), b=st.floats(0.1, 2), c=st.floats(0.02, 1.5))
def test_exact_points_give_their_law_back(a, b, c):
    relative = BUDGETS / np.exp(np.log(BUDGETS).mean())
    law = fit_law(BUDGETS, a + b * relative**-c)
    between = np.geomspace(BUDGETS[0], BUDGETS[-1], 50)
    np.testing.assert_allclose(law(between), a + b * (between / law.scale) ** -c, rtol=1e-4)
    assert law.c == pytest.approx(c, rel=0.05)


@few
@given(st.lists(st.floats(0.5, 3), min_size=4, max_size=4))
def test_no_points_give_a_law_that_rises(bits):
    """Nor one below zero: however the points lie, a and b are not negative."""
    law = fit_law(BUDGETS, bits)
    assert law.a >= 0 and law.b >= 0 and law(1e30) >= 0
    assert law(1e12) >= law(1e13) >= law(1e14)
    # No worse than the constant, which is the law with b = 0.
    assert np.sum((law(BUDGETS) - bits) ** 2) <= np.sum((np.mean(bits) - bits) ** 2) + 1e-9


def test_two_budgets_give_a_line_in_the_logarithm():
    law = fit_law([1e12, 1e13], [2.5, 2.0])
    assert law.c is None
    assert (law(1e12), law(1e13)) == pytest.approx((2.5, 2.0))
    assert law(1e12 * 10**0.5) == pytest.approx(2.25)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 99), st.permutations(range(6)))
def test_the_order_of_points_is_irrelevant(rng_seed, order):
    rng = np.random.default_rng(rng_seed)
    bytes_d = rng.lognormal(7, 1, 8)
    budgets = np.repeat(BUDGETS[:3], 2)
    nats = [losses(2 + 0.1 * rng.standard_normal(), bytes_d, rng, noise=0.1) for _ in budgets]
    one = fit_scaling(budgets, nats, each_its_own(bytes_d))
    other = fit_scaling(budgets[order], [nats[n] for n in order], each_its_own(bytes_d))
    assert one.law == other.law and one.resampled == other.resampled
    assert one.best == tuple(order[n] for n in other.best)


def test_the_best_size_of_every_budget_is_fitted():
    rng = np.random.default_rng(0)
    bytes_d = rng.lognormal(7, 1, 5)
    best = 1.2 + (BUDGETS / 1e12) ** -0.3
    bits = [[best[0], 2.6], [2.3, best[1]], [2.3, best[2]], [2.2, best[3]]]
    nats = [losses(value, bytes_d, rng) for pair in bits for value in pair]
    fit = fit_scaling(np.repeat(BUDGETS, 2), nats, each_its_own(bytes_d))
    assert fit.best == (0, 3, 5, 7) and fit.budgets == tuple(BUDGETS)
    np.testing.assert_allclose(fit.law(BUDGETS), best, atol=1e-3)
    assert fit.interval(1e12).high - fit.interval(1e12).low < 1e-9  # nothing scatters


def test_the_interval_covers_the_law_as_often_as_it_says():
    """Documents scatter, seeds little: 95 %, a few fewer from so few documents."""
    truth, covered = fit_law(BUDGETS, 1.2 + 0.8 * (BUDGETS / 1e12) ** -0.3), []
    for rng_seed in range(20):
        rng = np.random.default_rng(rng_seed)
        bytes_d, shared_d = rng.lognormal(7, 0.5, 60), 0.3 * rng.standard_normal(60)
        nats = [losses(truth(c) + shared_d, bytes_d, rng, noise=0.01, between=0.003) for c in BUDGETS]
        fit = fit_scaling(BUDGETS, nats, each_its_own(bytes_d))
        covered.append(all(float(truth(c)) in fit.interval(c) for c in BUDGETS))
    assert 0.8 <= np.mean(covered) <= 1


def test_seeds_count_as_chance_and_may_differ_in_number():
    bytes_d, rng = np.full(9, 1000.0), np.random.default_rng(0)
    nats = [losses(2.5 - 0.2 * n, bytes_d, rng, seeds=3 - (n == 1), between=0.1) for n in range(4)]
    fit = fit_scaling(BUDGETS, nats, each_its_own(bytes_d))
    assert fit.interval(1e12).high - fit.interval(1e12).low > 0.05
    assert fit.exponent.low <= fit.law.c <= fit.exponent.high


@pytest.mark.parametrize("budgets", [[1e12, 1e12], [1e12, 2e12]])
def test_as_many_budgets_as_numbers_give_no_law(budgets):
    assert fit_scaling(budgets, [np.ones((3, 4))] * 2, each_its_own(np.ones(4))) is None


def test_three_budgets_give_a_line_and_four_an_exponent():
    nats = [np.full((3, 4), value) for value in (4.0, 3.0, 2.5, 2.3)]
    for number, with_exponent in ((3, False), (4, True)):
        fit = fit_scaling(BUDGETS[:number], nats[:number], each_its_own(np.ones(4)))
        assert (fit.law.c is not None) == with_exponent
