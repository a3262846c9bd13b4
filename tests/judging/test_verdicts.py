"""Rows are judged as the contract of the tables says, whatever their order, and a broken file is named."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judging.null_check import DRAWS, null_check
from judging.rows import judge
from judging.verdicts import CANNOT_TELL, OPPOSITE, REFERENCE, SAME, better_or_worse
from tests.reports.synthetic_results import LN2, MARGIN, results, row, two_rows, unfinished


def judged(made, name="variant"):
    return next(found for found in judge(made) if found.name == name)


def shifted(made, name, bits):
    """Every document of a row moved by so many bits per byte, in every seed."""
    made = copy.deepcopy(made)
    bytes_d = np.array([document["bytes"] for document in made["documents"]])
    [chosen] = [found for found in made["rows"] if found["name"] == name]
    for cell in chosen["cells"]:
        for reading in ("nats", "nats_off"):
            if cell[reading] is not None:
                cell[reading] = (np.array(cell[reading]) + bits * LN2 * bytes_d).tolist()
    return made


made_rows = st.builds(
    lambda effect, seeds, count, rng_seed: results(
        [row("published", against=None, gain=-0.02), row("variant", bits=2.0 + effect, gain=-0.01)],
        seeds=seeds, count=count, rng_seed=rng_seed,
    ),
    effect=st.floats(-0.1, 0.1), seeds=st.integers(3, 5), count=st.integers(15, 24), rng_seed=st.integers(0, 99),
)  # fmt: skip
few = settings(max_examples=10, deadline=None)


@few
@given(made_rows)
def test_the_difference_is_antisymmetric(made):
    forth = judged(made)
    made["rows"][0] |= {"against": "variant"}
    made["rows"][1] |= {"against": None}
    back = judged(made, "published")
    for a, b in ((forth.difference, back.difference), (forth.gain_difference, back.gain_difference)):
        assert a.mean == pytest.approx(-b.mean, abs=1e-12)
        for one, other in ((a.over_seeds, b.over_seeds), (a.over_groups, b.over_groups)):
            assert [one.low, one.high] == pytest.approx([-other.high, -other.low], abs=1e-9)
    assert forth.detectable == pytest.approx(back.detectable, abs=1e-9)


@few
@given(made_rows, st.sampled_from(["worse", "better", "equal"]))
def test_identical_rows_never_differ(made, expects):
    made["rows"][1] |= {
        "cells": made["rows"][0]["cells"],
        "paper": {"figure": "", "expects": expects, "source": ""},
    }
    found = judged(made)
    assert found.difference.mean == found.detectable == found.gain_difference.mean == 0
    assert found.verdict == (SAME if expects == "equal" else CANNOT_TELL)


@few
@given(made_rows, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_seeds_is_irrelevant(made, random):
    mixed = copy.deepcopy(made)
    for cells in [found["cells"] for found in mixed["rows"]] + [mixed["null"]["cells"]]:
        random.shuffle(cells)
    mixed["rows"].reverse()
    for name in ("published", "variant"):
        one, other = judged(made, name), judged(mixed, name)
        assert {**vars(one), "row": None} == {**vars(other), "row": None}
    assert null_check(made) == null_check(mixed)


@few
@given(made_rows, st.floats(-1, 1))
def test_a_shift_of_every_document_shows_as_it_is(made, bits):
    before, after = judged(made), judged(shifted(made, "variant", bits))
    assert after.difference.mean - before.difference.mean == pytest.approx(bits, abs=1e-9)
    assert after.bits_per_byte - before.bits_per_byte == pytest.approx(bits, abs=1e-9)
    assert after.detectable == pytest.approx(before.detectable, abs=1e-9)
    assert after.gain.mean == pytest.approx(before.gain.mean, abs=1e-9)


@pytest.mark.parametrize(
    ("bits", "expects", "verdict"),
    [
        (0.05, "worse", SAME),
        (0.05, "better", OPPOSITE),
        (-0.05, "better", SAME),
        (-0.05, "worse", OPPOSITE),
        (0.0, "worse", CANNOT_TELL),
        (0.0, "equal", SAME),
        (0.05, "equal", OPPOSITE),
        (0.05, None, "the paper gives none: worse"),
        (-0.05, None, "the paper gives none: better"),
        (0.0, None, "the paper gives none: cannot tell"),
    ],
)
def test_verdicts(bits, expects, verdict):
    made = two_rows(bits=2.0 + bits, expects=expects, gain=0.0)
    made["rows"][1]["paper"] = made["rows"][1]["paper"] if expects else None
    assert judged(made).verdict == verdict
    assert judged(made, "published").verdict == REFERENCE


def test_equal_wants_intervals_within_the_margin():
    """A wide interval around zero is no proof of equality, a small sure difference none of the opposite, and
    one that may lie on either side of the margin none of either.
    """
    made = two_rows(expects="equal")
    margin = judged(made).margin.value
    assert judged(made).verdict == SAME and margin == pytest.approx(MARGIN, rel=0.1)
    wide = judged(lucky(copy.deepcopy(made), "variant", 0.05, -0.05, 0.0))
    assert wide.decisive.reach > margin and wide.verdict == CANNOT_TELL
    made["rows"][1]["cells"] = copy.deepcopy(made["rows"][0]["cells"])
    for times, verdict in ((0.5, SAME), (1.5, OPPOSITE), (-1.5, OPPOSITE)):
        found = judged(shifted(made, "variant", times * margin))
        assert found.difference.excludes_zero and found.verdict == verdict
    between = judged(lucky(shifted(made, "variant", margin), "variant", 0.1 * margin, -0.1 * margin, 0.0))
    assert between.difference.excludes_zero and between.verdict == CANNOT_TELL


@pytest.mark.parametrize("status", ["diverged", "failed"])
@pytest.mark.parametrize("row_number", [0, 1])
def test_a_seed_that_did_not_finish_never_vanishes(status, row_number):
    made = two_rows(bits=2.1, expects="worse")
    made["rows"][row_number]["cells"][1] = unfinished(1, status)
    reference, found, _ = judge(made)
    own = (reference, found)[row_number]
    assert own.verdict == status and own.seeds == 2 and found.paired == 2 and found.difference is not None
    assert [(trial["seed"], trial["status"]) for trial in own.unfinished] == [(1, status)]
    if row_number == 0:
        assert found.verdict == "2 seeds"


def test_a_row_of_which_nothing_finished_is_a_row():
    made = two_rows()
    made["rows"][1]["cells"] = [unfinished(seed) for seed in range(3)]
    found = judged(made)
    assert (found.verdict, found.bits_per_byte, found.difference, found.detectable) == (
        "diverged",
        None,
        None,
        None,
    )
    assert len(found.unfinished) == 3
    made["rows"][1]["cells"] = []
    assert judged(made).verdict == "0 seeds"


def test_more_seeds_than_three_outlive_a_crash_but_no_divergence():
    made = results([row("published", against=None), row("variant", bits=2.1, expects="worse")], seeds=4)
    made["rows"][1]["cells"][3] = unfinished(3, "failed")
    assert judged(made).verdict == SAME and judged(made).unfinished
    made["rows"][1]["cells"][3] = unfinished(3, "diverged")
    assert judged(made).verdict == "diverged"


def test_gains_are_of_the_same_model():
    made = results([row("published", against=None, gain=-0.03), row("variant", gain=-0.01), row("dense")])
    found = judged(made)
    assert found.gain.mean == pytest.approx(-0.01, abs=0.003)
    assert found.gain_difference.mean == pytest.approx(0.02, abs=0.004)
    assert judged(made, "dense").gain is None and judged(made, "dense").gain_difference is None


def test_gains_apart_are_those_of_documents_without_near_duplicates():
    made = results([row("published", against=None, gain=-0.03)], count=20)
    whole = judged(made, "published").gain_apart
    for cell in made["rows"][0]["cells"]:
        for d in range(10, 20):  # of which a fifth or more occurs in training
            cell["nats"][d] -= 1000.0
    assert judged(made, "published").gain_apart == whole
    assert judged(made, "published").gain.mean < whole.mean
    made["corpus"]["near_duplicate_threshold"] = 0.0
    assert judged(made, "published").gain_apart is None


def test_the_published_form_does_not_differ_from_itself():
    made = results([row("published", against=None)])
    check = null_check(made)
    assert check.draws == DRAWS and check.cannot_tell >= 19 and check.seeds == 3
    assert 0 < check.detectable < 0.1
    moved = copy.deepcopy(made)
    moved["rows"][0]["cells"] = shifted(made, "published", 0.3)["rows"][0]["cells"]
    assert null_check(moved).detectable > 10 * check.detectable


def test_without_six_seeds_there_is_no_null_check():
    made = results([row("published", against=None)])
    made["null"]["cells"][0] = unfinished(3)
    assert null_check(made) is None
    assert null_check(made | {"null": None}) is None


def lucky(made, name, *bits):
    """Seed by seed, a row's losses with and without neighbours moved by so many bits per byte."""
    bytes_d = np.array([document["bytes"] for document in made["documents"]])
    [chosen] = [found for found in made["rows"] if found["name"] == name]
    for cell, luck in zip(chosen["cells"], bits):
        for reading in ("nats", "nats_off") if cell["nats_off"] else ("nats",):
            cell[reading] = (np.array(cell[reading]) + luck * LN2 * bytes_d).tolist()
    return made


@pytest.mark.parametrize("expects, verdict", [("worse", SAME), ("better", OPPOSITE)])
def test_the_gain_tells_what_the_luck_of_two_trainings_hides(expects, verdict):
    rows = [
        row("published", against=None, gain=-0.03),
        row("variant", gain=-0.02, expects=expects),
        row("reading", gain=-0.02, expects=expects, cell="published"),
        row("unsaid", gain=-0.02),
    ]
    made = lucky(results(rows, noise=0.001), "variant", 0.05, -0.06, 0.02)
    found = {each.name: each for each in judge(made)}
    assert found["variant"].verdict == CANNOT_TELL and found["variant"].gain_verdict == verdict
    assert found["variant"].gain_difference.mean == pytest.approx(0.01, abs=0.002)
    assert found["reading"].gain_verdict is None and found["unsaid"].gain_verdict is None


@pytest.mark.parametrize(
    ("difference", "excludes_zero", "expected"),
    [
        (-0.03, True, "better"),
        (0.03, True, "worse"),
        (-0.03, False, "cannot tell"),
        (0.0, False, "cannot tell"),
    ],
)
def test_what_a_model_is_without_a_published_direction(difference, excludes_zero, expected):
    assert better_or_worse(difference, excludes_zero) == expected
