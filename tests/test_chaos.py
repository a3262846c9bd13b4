"""`make chaos` in its shortest form: bad texts and damaged results by the dozen, and a command that is killed."""

import sys

import numpy as np
import pytest

from tests.chaos.cases import Case, outcome_of, table
from tests.chaos.children import Child, End
from tests.chaos.inputs import corpora, results
from tests.chaos.jobs import JOBS, tables
from tests.chaos.kills import kills, whole

PUBLISH = next(job for job in JOBS if job.name == "publish")


@pytest.mark.skipif(sys.platform != "linux", reason="of names and pipes as Linux has them")
def test_no_text_ends_in_a_traceback():
    cases = list(corpora(np.random.default_rng(0), 60))
    assert not [case for case in cases if case.bad], table(cases)
    assert {case.outcome for case in cases} == {"named", "accepted"}


def test_no_damaged_results_file_ends_in_a_traceback():
    cases = list(results(np.random.default_rng(0), 12))
    assert not [case for case in cases if case.bad], table(cases)


def test_pages_that_are_written_by_a_command_that_is_killed_are_the_same(tmp_path):
    template = tmp_path / "template"
    tables(template)
    seconds, expected = whole(PUBLISH, template, tmp_path / "whole")
    assert expected
    random = np.random.default_rng(0)  # before changes to the file system: a clock would leave it to luck
    cases = list(kills(PUBLISH, template, tmp_path / "killed", seconds, expected, random, 4, signals=()))
    assert [case.outcome for case in cases] == ["same"] * 4, table(cases)


def fails(how):
    if how == "code":
        raise SystemExit(3)
    raise ZeroDivisionError("of this test")


@pytest.mark.parametrize(("how", "outcome"), [("bug", "traceback"), ("code", "exit")])
def test_what_is_not_fine_is_seen(tmp_path, how, outcome):
    end = Child(fails, how, log=tmp_path / "log").end()
    assert outcome_of(end, False) == outcome and Case("kills", how, outcome).bad
    assert outcome in table([Case("kills", how, outcome, end.said)])


def test_other_bytes_are_seen():
    assert outcome_of(End(0, ""), alike=False) == "different"
    assert outcome_of(End(None, ""), alike=True) == "hang"
    assert outcome_of(End(2, "error: …"), alike=False) == "named"
