"""Intervals cover what they claim to, pairing helps, and two equal models never differ."""

import itertools

import numpy as np
import pytest
from scipy import stats

from judging.intervals import (
    RESAMPLES,
    Comparison,
    Interval,
    bootstrap_ratio,
    paired_difference,
    paired_over_seeds,
)

LN2 = np.log(2)


def _documents(rng, count, bits_per_byte=2.0, noise=0.3):
    """Documents of very different lengths, whose own bits per byte scatter around the given one."""
    num_bytes = rng.lognormal(7, 1, count).round() + 50
    return num_bytes * LN2 * (bits_per_byte + noise * rng.standard_normal(count)), num_bytes


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    """About 95 %; from 60 documents a percentile bootstrap may fall a little short."""
    rng = np.random.default_rng(0)
    covered = np.mean([2.0 in bootstrap_ratio(*_documents(rng, 60)) for _ in range(200)])
    assert 0.90 <= covered <= 0.98


def test_bootstrap_agrees_with_every_resample_of_four_documents():
    """4⁴ = 256 equally likely draws give the exact distribution that the random ones approach."""
    nats, num_bytes = _documents(np.random.default_rng(1), 4)
    every = np.array(list(itertools.product(range(4), repeat=4)))
    ratios = nats[every].sum(axis=1) / LN2 / num_bytes[every].sum(axis=1)
    interval = bootstrap_ratio(nats, num_bytes)
    error = 4 * np.sqrt(0.025 * 0.975 / RESAMPLES)
    for bound, level in ((interval.low, 0.025), (interval.high, 0.975)):
        assert np.mean(ratios < bound - 1e-9) - error <= level <= np.mean(ratios <= bound + 1e-9) + error


def test_bootstrap_agrees_with_scipy():
    nats, num_bytes = _documents(np.random.default_rng(2), 80)

    def ratio(nats, num_bytes, axis=-1):
        return nats.sum(axis) / LN2 / num_bytes.sum(axis)

    result = stats.bootstrap(
        (nats, num_bytes), ratio, paired=True, method="percentile", n_resamples=20_000, rng=3
    )
    reference = result.confidence_interval
    interval = bootstrap_ratio(nats, num_bytes)
    tolerance = 0.1 * (reference.high - reference.low)
    np.testing.assert_allclose([interval.low, interval.high], reference, atol=tolerance)


def test_units_are_bits_per_byte():
    """Documents with one and the same ratio leave nothing to chance."""
    num_bytes = np.array([10.0, 200.0, 3000.0])
    interval = bootstrap_ratio(1.25 * LN2 * num_bytes, num_bytes)
    np.testing.assert_allclose([interval.low, interval.high], 1.25)


def test_the_same_numbers_give_the_same_interval():
    nats, num_bytes = _documents(np.random.default_rng(3), 30)
    assert bootstrap_ratio(nats, num_bytes) == bootstrap_ratio(nats.tolist(), num_bytes.astype(int).tolist())


def test_a_model_does_not_differ_from_itself():
    nats, num_bytes = _documents(np.random.default_rng(4), 20)
    assert paired_difference(nats, nats, num_bytes) == Interval(0.0, 0.0)
    seeds = np.stack([nats, 1.1 * nats, 0.9 * nats])
    comparison = paired_over_seeds(seeds, seeds, num_bytes)
    assert comparison == Comparison(0.0, Interval(0.0, 0.0), Interval(0.0, 0.0))
    assert not comparison.excludes_zero


def test_pairing_narrows_the_interval():
    """Two models share their hard documents: their difference is far surer than either model's own figure."""
    rng = np.random.default_rng(5)
    nats, num_bytes = _documents(rng, 40, noise=0.5)
    better = nats - num_bytes * LN2 * (0.05 + 0.02 * rng.standard_normal(40))
    paired = paired_difference(better, nats, num_bytes)
    alone = bootstrap_ratio(nats, num_bytes)
    assert -0.05 in paired and 0.0 not in paired
    assert paired.high - paired.low < 0.2 * (alone.high - alone.low)


def test_swapping_the_models_mirrors_the_comparison():
    rng = np.random.default_rng(6)
    a, b = rng.uniform(1, 2, (2, 3, 25))
    num_bytes = rng.uniform(1, 2, 25)
    there, back = paired_over_seeds(a, b, num_bytes), paired_over_seeds(b, a, num_bytes)
    np.testing.assert_allclose(there.mean, -back.mean)
    for x, y in ((there.over_seeds, back.over_seeds), (there.over_documents, back.over_documents)):
        np.testing.assert_allclose([x.low, x.high], [-y.high, -y.low])


def test_seed_interval_is_students_paired_t():
    rng = np.random.default_rng(7)
    a, b = rng.uniform(100, 200, (2, 4, 10))
    num_bytes = np.full(10, 50.0)
    reference = stats.ttest_rel(a.sum(1) / LN2 / 500, b.sum(1) / LN2 / 500).confidence_interval(0.95)
    comparison = paired_over_seeds(a, b, num_bytes)
    np.testing.assert_allclose([comparison.over_seeds.low, comparison.over_seeds.high], reference)
    np.testing.assert_allclose(comparison.mean, (a.sum() - b.sum()) / LN2 / 500 / 4)


def test_seed_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(8)
    num_bytes = np.full(1, 1000.0)
    inside = []
    for _ in range(1000):
        seed_effect = rng.standard_normal((3, 1)) * num_bytes * LN2
        inside.append(0.0 in paired_over_seeds(seed_effect, 0 * seed_effect, num_bytes).over_seeds)
    assert 0.93 <= np.mean(inside) <= 0.97


@pytest.mark.parametrize(
    ("over_seeds", "over_documents", "excludes"),
    [
        (Interval(-2, -1), Interval(-3, -1), True),
        (Interval(1, 2), None, True),
        (None, Interval(1, 2), True),
        (Interval(-1, 2), Interval(1, 2), False),
        (Interval(1, 2), Interval(-1, 2), False),
        (Interval(0, 2), Interval(1, 2), False),
        (None, None, False),
    ],
)
def test_a_difference_counts_when_no_interval_holds_zero(over_seeds, over_documents, excludes):
    assert Comparison(0.0, over_seeds, over_documents).excludes_zero is excludes


def test_one_seed_or_one_document_has_no_interval():
    rng = np.random.default_rng(9)
    a, b = rng.uniform(1, 2, (2, 1, 25))
    assert paired_over_seeds(a, b, np.ones(25)).over_seeds is None
    alone = paired_over_seeds(a[:, :1], b[:, :1], np.ones(1))
    assert alone.over_documents is None and not alone.excludes_zero
