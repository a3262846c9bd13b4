"""Intervals hold the truth as often as they say, on data that scatter as the committed tables do; and no seed
of a resampling can turn what they decide.

The sizes of groups there: lognormal, standard deviation 1.1 of the logarithm, as the 18 packages of the
standard library. Their differences: 0.03 bits per byte, with tails as of a t on four degrees of freedom, 0.006
from seed to seed, and 0.015 from seed to seed within a group.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from judging.documents import documents_by_group, documents_of
from judging.intervals import Spread, paired_over_seeds
from judging.rows import judge
from judging.table import Table
from judging.verdicts import GROUPS_FOR_A_VERDICT, SEEDS_FOR_A_VERDICT
from studies.results_file import is_study, read_results

COMMITTED = Path(__file__).parents[2] / "experiments/results"
TRUTH, OF_GROUPS, OF_SEEDS, OF_BOTH, OF_SIZES = 0.02, 0.03, 0.006, 0.015, 1.1
TIMES = 1500  # of which 95 % have a standard error of 0.6 %


def ratio(x, y, axis=-1):
    return x.sum(axis) / y.sum(axis)


def chance(rng, groups, seeds=3):
    """Bytes [G], effects of groups [G] and of seeds [S, 1], and their differences in bits [S, G]."""
    bytes_g = rng.lognormal(8, OF_SIZES, groups)
    of_g = OF_GROUPS * rng.standard_t(4, groups) / np.sqrt(2)
    of_s = OF_SEEDS * rng.standard_normal((seeds, 1))
    bits_sg = (TRUTH + of_g + of_s + OF_BOTH * rng.standard_normal((seeds, groups))) * bytes_g
    return bytes_g, of_g, of_s, bits_sg


def found(bits_sg, bytes_g):
    documents = documents_by_group(bytes_g, [f"{g:03}" for g in range(len(bytes_g))])
    return paired_over_seeds(np.log(2) * bits_sg, 0 * bits_sg, documents)


@pytest.mark.parametrize("groups", [15, 60])
def test_both_intervals_cover_what_they_say(groups):
    """Each beside the other's chance as it fell: over other seeds on these groups, over other groups by these
    seeds.
    """
    rng, over_seeds, over_groups = np.random.default_rng(0), [], []
    for _ in range(TIMES):
        bytes_g, of_g, of_s, bits_sg = chance(rng, groups)
        difference = found(bits_sg, bytes_g)
        over_seeds.append(TRUTH + ratio(of_g * bytes_g, bytes_g) in difference.over_seeds)
        over_groups.append(TRUTH + of_s.mean() in difference.over_groups)
    assert 0.93 <= np.mean(over_seeds) <= 0.97
    assert 0.93 <= np.mean(over_groups) <= 0.98


@pytest.mark.parametrize("seeds", [3, 6])
def test_equal_models_are_called_different_at_most_as_often_as_said(seeds):
    """Over seeds and groups together."""
    rng = np.random.default_rng(1)
    wrong = []
    for _ in range(TIMES):
        bytes_g, _, _, bits_sg = chance(rng, 18, seeds)
        wrong.append(found(bits_sg - TRUTH * bytes_g, bytes_g).excludes_zero)
    assert np.mean(wrong) <= 0.05


def bca(bits_g, bytes_g, rng, resamples=999):
    """scipy's bias-corrected and accelerated bootstrap (Efron & Tibshirani, 1993, chapter 14)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (bits_g, bytes_g), ratio, paired=True, method="BCa", n_resamples=resamples, rng=rng
        )
    return result.confidence_interval


def test_a_bootstrap_of_few_unequal_groups_is_too_sure():
    """Why there is none: of 95 %, fifteen groups give less than 90."""
    rng, covered = np.random.default_rng(2), []
    for _ in range(250):
        bytes_g, _, of_s, bits_sg = chance(rng, GROUPS_FOR_A_VERDICT)
        low, high = bca(bits_sg.mean(axis=0), bytes_g, rng)
        covered.append(low <= TRUTH + of_s.mean() <= high)
    assert np.mean(covered) < 0.9


def committed_differences():
    """(row, nats [G], bytes [G], over groups) of all rows with enough seeds and groups for a verdict."""
    for path in sorted(COMMITTED.glob("*/results.json")):
        results = read_results(path)
        if not is_study(results):
            continue
        table, documents = Table(results), documents_of(results)
        for row in judge(results):
            nats = table.differences[row.name]
            if len(nats) >= SEEDS_FOR_A_VERDICT and len(documents.names) >= GROUPS_FOR_A_VERDICT:
                nats_g = documents.sums(np.mean(list(nats.values()), axis=(0, 1)))
                yield f"{path.parent.name}: {row.name}", nats_g, documents.bytes_g, row.difference.groups


def test_what_is_decided_on_committed_rows_no_resampling_turns():
    """Ten bootstraps of other seeds each decide as we do wherever we decide and their own bounds are not
    within two resampling standard errors of zero; and are about as wide, a little narrower.
    """
    decided, disputed, widths = 0, [], []
    for name, nats_g, bytes_g, ours in committed_differences():
        if 0.0 in ours.interval:
            continue
        ends = np.array([bca(nats_g / np.log(2), bytes_g, rng, 499) for rng in range(10)])
        sure = (np.abs(ends) > 2 * ends.std(axis=0, ddof=1)).all()
        excluding = (ends[:, 0] > 0) | (ends[:, 1] < 0)
        decided += 1
        if sure and not excluding.all():
            disputed.append(name)
        widths.append(np.ptp(ends, axis=1).mean() / (ours.interval.high - ours.interval.low))
    assert decided > 50 and not disputed
    assert 0.75 < np.median(widths) < 1.1


def test_nothing_is_drawn():
    """The same losses, in whatever order groups come, give the same bounds."""
    bytes_g, _, _, bits_sg = chance(np.random.default_rng(3), 20)
    order = np.random.default_rng(4).permutation(20)
    one, other = found(bits_sg, bytes_g), found(bits_sg[:, order], bytes_g[order])
    np.testing.assert_allclose(list(one.over_groups), list(other.over_groups), rtol=1e-12)
    assert one.groups == found(bits_sg, bytes_g).groups and isinstance(one.groups, Spread)
