"""The join finds exactly the pairs that comparing each with each finds."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import DisjointSet

from data.near_duplicates import merge_similar

THRESHOLDS = [0.5, 0.6, 2 / 3, 0.75, 0.8, 0.9, 1.0]


def joined(every, threshold):
    sets, done = DisjointSet(range(100, 100 + len(every))), []
    elements = [np.array(sorted(own), np.uint64) for own in every]
    merge_similar(sets, range(100, 100 + len(every)), elements, threshold, done.append)
    assert sum(done) == len(every)
    return sorted(map(sorted, sets.subsets()))


def compared(every, threshold):
    sets = DisjointSet(range(100, 100 + len(every)))
    for (i, a), (j, b) in itertools.combinations(enumerate(every, start=100), 2):
        if len(a & b) / len(a | b) >= threshold:
            sets.merge(i, j)
    return sorted(map(sorted, sets.subsets()))


@settings(max_examples=200)
@given(st.lists(st.sets(st.integers(0, 12), min_size=1), max_size=12), st.sampled_from(THRESHOLDS))
def test_few_sets_of_any_elements(every, threshold):
    assert joined(every, threshold) == compared(every, threshold)


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("seed", range(6))
def test_many_variants_of_two_sets(seed, threshold):
    """So that a set has dozens of candidates in one group, and is similar to few of them."""
    random = np.random.default_rng(seed)
    base = [{*random.integers(30, size=size).tolist()} for size in random.integers(8, 25, 2)]
    changes = random.integers(30, size=(150, 5)).tolist()
    every = [base[i % 2] ^ {*change[: i % 6]} or {0} for i, change in enumerate(changes)]
    assert joined(every, threshold) == compared(every, threshold)


def test_no_set_at_all():
    assert joined([], 0.8) == []
