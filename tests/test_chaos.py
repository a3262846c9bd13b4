"""`make chaos` in its shortest form: bad texts and damaged results by the dozen, and a command that is killed."""

import gzip
import json
import resource
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from data.corpora import load_corpus
from reports.tables import filled
from tests.chaos.canary import READ, Canary
from tests.chaos.cases import Case, outcome_of, table
from tests.chaos.children import Child, End
from tests.chaos.clock import jumps, negative, with_clock
from tests.chaos.inputs import corpora, results
from tests.chaos.jobs import JOBS, tables
from tests.chaos.kills import kills, whole
from tests.chaos.many import survivor
from tests.chaos.record import PAGE, markdown, outcomes, records, summary

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


def test_pages_are_the_same_whatever_the_clock_says(tmp_path):
    template = tmp_path / "template"
    tables(template)
    expected = whole(PUBLISH, template, tmp_path / "whole")[1]
    (tmp_path / "clock").mkdir()
    cases = list(jumps(PUBLISH, template, tmp_path / "clock", expected, np.random.default_rng(0)))
    assert [case.outcome for case in cases] == ["same", "same"], table(cases)


def reads_and_removes(path):
    next(Path(path).rglob("kept.txt")).read_text()
    shutil.rmtree(Path(path) / "below")


def test_what_leaves_its_folder_is_seen(tmp_path):
    canary = Canary(tmp_path / "canary")
    canary.make()
    before = canary.state()
    link = tmp_path / "link"
    link.symlink_to(canary.folder)
    end = Child(reads_and_removes, link, log=tmp_path / "log", outside=canary.folder).end()
    assert end.code == 0 and canary.state() != before
    assert f"{READ}open {canary.folder.resolve()}/below/kept.txt" in end.said
    assert f"{READ}shutil.rmtree" in end.said


def looks_at_the_clock(folder):
    times = [time.time() for _ in range(200)]
    (folder / "metrics.jsonl").write_text(json.dumps({"seconds": times[-1] - max(times)}))


def test_a_clock_that_jumps_is_one_and_a_negative_duration_is_seen(tmp_path):
    assert Child(with_clock, looks_at_the_clock, tmp_path, 0, log=tmp_path / "log").end().code == 0
    assert negative(tmp_path)


@pytest.mark.parametrize(
    "said, code, outcome",
    [
        ("error: Process 1 of this run is gone. What was saved is kept", 1, "named"),
        ("was killed, or JAX ended it because another process was lost, most likely", -6, "named"),
        ("", 1, "exit"),
        ("Traceback (most recent call last):", 1, "traceback"),
        ("", None, "hang"),
    ],
)
def test_how_the_other_of_two_processes_ends(said, code, outcome):
    assert survivor(End(-9, ""), End(code, said)) == outcome


def test_counts_are_added_up_by_kind():
    cases = [Case("kills", "", "same"), Case("kills", "", "named"), Case("steps", "2 steps: flat", "same")]
    call = summary("--only kills", 7, cases)
    assert call["kinds"] == {"kills": {"same": 1, "named": 1}, "steps": {"same": 1}}
    assert outcomes(("kills",), [call, call]) == {"same": 2, "named": 2}
    assert "| kills | 4 | 2 same, 2 named | 1, 2 |" in markdown([call, call])
    assert "2 steps: flat" in markdown([call])


def test_the_page_shows_the_committed_counts():
    page = PAGE.read_text(encoding="utf-8")
    assert page == filled(page, {"chaos": markdown(records())}), "python -m tests.chaos.record writes it"


def reads(folder):
    resident = psutil.Process().memory_info().rss
    load_corpus(str(folder), 100_000)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - resident) // 2**20)


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB there")
def test_a_bomb_of_gzip_is_read_in_little_memory(tmp_path):
    """96 MiB of one word, in a file of 100 KB: what is left out is not kept."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "bomb.txt.gz").write_bytes(gzip.compress(b"x" * 2**23) * 12)
    (folder / "words.txt").write_text("plain words " * 2000)
    end = Child(reads, folder, log=tmp_path / "log").end()
    assert end.code == 0 and int(end.said.split()[-1]) < 48, end.said
