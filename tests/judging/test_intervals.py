"""Intervals are what their sources say, pairing helps, and two equal models never differ."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from judging.documents import documents_by_group
from judging.intervals import Comparison, Interval, Spread, comparison, paired_over_seeds, ratio

LN2 = np.log(2)
ALONE = Spread(0.0, np.inf, 0.0, 1)


def each_its_own(num_bytes):
    """Every document is a group."""
    return documents_by_group(num_bytes, [f"{d:04}" for d in range(len(num_bytes))])


def _documents(rng, count, bits_per_byte=2.0, noise=0.3):
    """Documents of very different lengths, whose own bits per byte scatter around the given one."""
    num_bytes = rng.lognormal(7, 1, count).round() + 50
    return num_bytes * LN2 * (bits_per_byte + noise * rng.standard_normal(count)), num_bytes


def spread(mean, error=0.0, number=3):
    return Spread(mean, error, number - 1.0, number)


def test_groups_are_left_out_one_after_the_other():
    """The jackknife by its definition (Efron & Tibshirani, 1993, equation 11.5, around the whole ratio)."""
    nats, num_bytes = _documents(np.random.default_rng(1), 20)
    found = ratio(nats, each_its_own(num_bytes))
    whole = nats.sum() / LN2 / num_bytes.sum()
    without = [np.delete(nats, d).sum() / LN2 / np.delete(num_bytes, d).sum() for d in range(20)]
    assert found.mean == pytest.approx(whole) and found.number == 20
    assert found.error == pytest.approx(np.sqrt(19 / 20 * np.sum((np.array(without) - whole) ** 2)))


def test_groups_of_one_size_are_student_s_t():
    nats = np.random.default_rng(2).normal(size=24)
    found = ratio(nats, each_its_own(np.full(24, 50.0)))
    reference = stats.ttest_1samp(nats / LN2 / 50, 0)
    assert found.freedom == pytest.approx(23) and found.p_value == pytest.approx(reference.pvalue)
    np.testing.assert_allclose(list(found.interval), reference.confidence_interval(0.95))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(1, 1e6), min_size=2, max_size=40))
def test_unequal_groups_count_as_fewer(num_bytes):
    freedom = ratio(np.ones(len(num_bytes)), each_its_own(num_bytes)).freedom
    assert 1 <= freedom <= max(len(num_bytes) - 1, 1) + 1e-9


def test_documents_of_a_group_are_one_draw():
    """A document that is cut in two, or stands there twice, says no more than it did."""
    nats, num_bytes = _documents(np.random.default_rng(3), 15)
    whole = ratio(nats, each_its_own(num_bytes))
    names = [f"{d:04}" for d in range(15)] * 2
    for share in (0.5, 0.9):
        halves = np.concatenate([share * nats, (1 - share) * nats])
        cut = documents_by_group(np.concatenate([share * num_bytes, (1 - share) * num_bytes]), names)
        np.testing.assert_allclose(list(ratio(halves, cut).interval), list(whole.interval))
    twice = ratio(np.tile(nats, 2), documents_by_group(np.tile(num_bytes, 2), names))
    assert twice.error == pytest.approx(whole.error) and twice.freedom == pytest.approx(whole.freedom)


def test_units_are_bits_per_byte():
    """Documents with one and the same ratio leave nothing to chance."""
    num_bytes = np.array([10.0, 200.0, 3000.0])
    np.testing.assert_allclose(list(ratio(1.25 * LN2 * num_bytes, each_its_own(num_bytes)).interval), 1.25)


def test_a_model_does_not_differ_from_itself():
    nats, num_bytes = _documents(np.random.default_rng(4), 20)
    seeds = np.stack([nats, 1.1 * nats, 0.9 * nats])
    found = paired_over_seeds(seeds, seeds, each_its_own(num_bytes))
    assert found.mean == 0 and found.over_seeds == found.over_groups == Interval(0.0, 0.0)
    assert not found.excludes_zero and found.p_value == 1


def test_pairing_narrows_the_interval():
    """Two models share their hard documents: their difference is far surer than either model's own figure."""
    rng = np.random.default_rng(5)
    nats, num_bytes = _documents(rng, 40, noise=0.5)
    better = nats - num_bytes * LN2 * (0.05 + 0.02 * rng.standard_normal(40))
    paired = ratio(better - nats, each_its_own(num_bytes)).interval
    alone = ratio(nats, each_its_own(num_bytes)).interval
    assert -0.05 in paired and 0.0 not in paired
    assert paired.high - paired.low < 0.2 * (alone.high - alone.low)


def test_swapping_the_models_mirrors_the_comparison():
    rng = np.random.default_rng(6)
    a, b = rng.uniform(1, 2, (2, 3, 25))
    documents = each_its_own(rng.uniform(1, 2, 25))
    there, back = paired_over_seeds(a, b, documents), paired_over_seeds(b, a, documents)
    np.testing.assert_allclose([there.mean, there.p_value], [-back.mean, back.p_value])
    for x, y in ((there.over_seeds, back.over_seeds), (there.over_groups, back.over_groups)):
        np.testing.assert_allclose([x.low, x.high], [-y.high, -y.low])


def test_seed_interval_is_students_paired_t():
    rng = np.random.default_rng(7)
    a, b = rng.uniform(100, 200, (2, 4, 10))
    reference = stats.ttest_rel(a.sum(1) / LN2 / 500, b.sum(1) / LN2 / 500)
    found = paired_over_seeds(a, b, each_its_own(np.full(10, 50.0)))
    np.testing.assert_allclose(list(found.over_seeds), reference.confidence_interval(0.95))
    assert found.seeds.p_value == pytest.approx(reference.pvalue)
    np.testing.assert_allclose(found.mean, (a.sum() - b.sum()) / LN2 / 500 / 4)


def test_draw_interval_is_student_s_t_over_the_draws_mean_of_the_seeds():
    nats_srd = np.random.default_rng(8).normal(size=(3, 5, 20))
    found = comparison(nats_srd, each_its_own(np.full(20, 50.0)), drawn=True)
    reference = stats.ttest_1samp(nats_srd.mean(axis=0).sum(axis=1) / LN2 / 1000, 0)
    np.testing.assert_allclose(list(found.over_draws), reference.confidence_interval(0.95))
    each = (found.seeds, found.groups, found.draws)
    assert found.p_value == max(spread.p_value for spread in (*each, found.together))
    assert found.together.error == pytest.approx(np.sqrt(sum(spread.error**2 for spread in each)))
    one = comparison(nats_srd[:, :1], each_its_own(np.full(20, 50.0)), drawn=True)
    assert one.over_draws is None and one.draws.number == 1
    assert comparison(nats_srd[:, :1], each_its_own(np.full(20, 50.0))).draws is None


@pytest.mark.parametrize(
    ("seeds", "groups", "draws", "excludes"),
    [
        (spread(-1), spread(-2), None, True),
        (spread(1), ALONE, None, True),
        (ALONE, spread(1), None, True),
        (spread(1, 1), spread(1), None, False),
        (spread(1), spread(1, 1), None, False),
        (spread(1), spread(1), spread(1, 1), False),
        (spread(1), spread(1), spread(1), True),
        (ALONE, ALONE, None, False),
    ],
)
def test_a_difference_counts_when_no_interval_holds_zero(seeds, groups, draws, excludes):
    assert Comparison(0.0, seeds, groups, draws).excludes_zero is excludes


def test_one_seed_or_one_group_has_no_interval():
    rng = np.random.default_rng(9)
    a, b = rng.uniform(1, 2, (2, 1, 25))
    assert paired_over_seeds(a, b, each_its_own(np.ones(25))).over_seeds is None
    alone = paired_over_seeds(a, b, documents_by_group(np.ones(25), ["one"] * 25))
    assert alone.over_groups is None and not alone.excludes_zero and alone.p_value == 1


@settings(max_examples=30, deadline=None)
@given(st.floats(0.2, 5), st.integers(3, 30))
def test_as_many_as_are_needed_are_enough_and_one_less_is_not(distance, number):
    seen = Spread(distance, 1.0, number - 1.0, number)
    needed = seen.needed(distance, 100)
    reach = lambda n: stats.t.ppf(0.975, n - 1) * np.sqrt(number / n)
    if needed is None:
        assert reach(100) >= distance
    else:
        assert reach(needed) < distance and (needed == number or reach(needed - 1) >= distance)


def test_what_is_hopeless_or_unknown_has_no_number():
    assert spread(0.0, 1.0).needed(0.0, 100) is None and ALONE.needed(1.0, 100) is None


def test_together_are_welch_s_degrees_of_freedom():
    """Two samples are two sources of chance of their difference, whose test scipy has."""
    rng = np.random.default_rng(10)
    a, b = rng.normal(size=5), rng.normal(0.5, 3, size=9)
    first, second = (
        Spread(a.mean() - b.mean(), x.std(ddof=1) / len(x) ** 0.5, len(x) - 1, len(x)) for x in (a, b)
    )
    together = Comparison(a.mean() - b.mean(), first, second).together
    reference = stats.ttest_ind(a, b, equal_var=False)
    assert together.p_value == pytest.approx(reference.pvalue)
    np.testing.assert_allclose(list(together.interval), reference.confidence_interval(0.95))


def test_what_is_needed_is_enough_for_all_together():
    """Either interval alone would be narrow enough as it is; both errors together are too large."""
    seeds, groups = Spread(1.0, 0.3, 5.0, 6), Spread(1.0, 0.42, 29.0, 30)
    difference = Comparison(1.0, seeds, groups)
    assert 0 not in seeds.interval and 0 not in groups.interval and 0 in difference.over_all
    needed = difference.needed(1.0)
    assert needed["seed"] > 6 and needed["group"] > 30
    more = Comparison(1.0, seeds.over(needed["seed"]), groups.over(needed["group"]))
    assert more.excludes_zero and difference.needed(0.01) == {"seed": None, "group": None}
