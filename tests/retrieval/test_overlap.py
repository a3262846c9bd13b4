"""Shared runs against brute force, and what is no text never counts as shared."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from retrieval.neighbours.overlap import _suffix_automaton, longest_runs, shared_runs, text_tokens

# Few different tokens, so that runs repeat and overlap; -1 is no text.
TEXT = st.lists(st.integers(-1, 3), max_size=20)


def equal_runs(chunk, neighbour):
    """Every (start, neighbour_start, length) of equal text, maximal or not."""
    for i in range(len(chunk)):
        for j in range(len(neighbour)):
            for length in range(1, min(len(chunk) - i, len(neighbour) - j) + 1):
                run = chunk[i : i + length]
                if run == neighbour[j : j + length] and min(run) >= 0:
                    yield i, j, length


@settings(max_examples=200)
@given(TEXT, st.lists(TEXT, max_size=3))
@example([], [[], [1]])
@example([-1, -1], [[-1, -1]])
@example([0, 1, 0, 0, 1], [[0, 0, 1, 0, 1, 0, 0]])
def test_longest_runs_are_those_of_brute_force(chunk, neighbours):
    expected = [max((run[2] for run in equal_runs(chunk, row)), default=0) for row in neighbours]
    assert [longest_runs(chunk, [row])[0] for row in neighbours] == expected
    padded = [row + [-1] * (20 - len(row)) for row in neighbours]
    assert longest_runs(np.array(chunk, np.int32), np.array(padded, np.int32).reshape(-1, 20)) == expected


@settings(max_examples=200)
@given(TEXT, TEXT, st.integers(1, 4))
@example([0] * 4, [0] * 3, 1)
def test_shared_runs_are_the_equal_runs_that_no_other_extends(chunk, neighbour, minimum):
    runs = set(equal_runs(chunk, neighbour))
    longer = {(i + 1, j + 1, n - 1) for i, j, n in runs} | {(i, j, n - 1) for i, j, n in runs}
    expected = sorted(run for run in runs - longer if run[2] >= minimum)
    assert shared_runs(chunk, neighbour, minimum) == expected


@given(TEXT, TEXT)
def test_the_longest_shared_run_is_the_longest_run(chunk, neighbour):
    lengths = [length for _, _, length in shared_runs(chunk, neighbour)]
    assert longest_runs(chunk, [neighbour]) == longest_runs(neighbour, [chunk]) == [max(lengths, default=0)]


def test_a_copy_and_an_edit():
    chunk = list(range(64))
    assert shared_runs(chunk, [99, *chunk, 99]) == [(0, 1, 64)]
    edited = [*chunk[:20], 99, *chunk[21:]]
    assert shared_runs(chunk, edited, minimum=4) == [(0, 0, 20), (21, 21, 43)]
    assert longest_runs(chunk, [edited, [99] * 128]) == [43, 0]


@pytest.mark.parametrize("tokens", [list(range(64)), [0] * 64, [0, 1] * 32, [0] * 32 + [1] * 32])
def test_the_automaton_is_linear(tokens):
    """At most 2m - 1 states and 3m - 4 transitions, whatever the text repeats."""
    transitions, links, lengths = _suffix_automaton(tokens)
    assert len(transitions) == len(links) == len(lengths) <= 2 * len(tokens) - 1
    assert sum(map(len, transitions)) <= 3 * len(tokens) - 4


def test_two_short_documents_share_no_bos_eos_or_padding(tmp_path, make_store):
    store = make_store(tmp_path, [3, 0, 3], seed=1)
    tokens = text_tokens(store, store.chunk_tokens(np.arange(3)))
    assert longest_runs(tokens[1], tokens) == [0, 0, 0]
    assert longest_runs(tokens[0], tokens)[0] == 3
    assert shared_runs(tokens[0], tokens[0], 3) == [(1, 1, 3)]
