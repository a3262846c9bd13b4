"""Workers make each piece once; one that dies or fails is named; and none outlives what started it."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from errors import InputError
from processes.workers import share_out
from tests.many_processes import ROOT, SECONDS
from tests.processes.pieces import Piece


def test_each_is_made_once_and_progress_is_reported(tmp_path):
    counts = []
    share_out(Piece, (str(tmp_path), ""), range(7), 2, counts.append)
    assert sorted(path.name for path in tmp_path.iterdir()) == list("0123456")
    assert sorted(counts) == list(range(7))
    makers = {path.read_text() for path in tmp_path.iterdir()}
    assert str(os.getpid()) not in makers


@pytest.mark.parametrize(
    "fate, error, message",
    [
        (
            "bad input",
            InputError,
            r"Worker [12] of 2 \(process \d+\), at shard 2, .*: the folder is not there",
        ),
        ("bug", RuntimeError, r"(?s)Worker [12] of 2 .* at shard 2, failed.*ZeroDivisionError: of this test"),
        ("killed", InputError, r"Worker [12] of 2 .* at shard 2, was ended by signal 9.* same command again"),
    ],
)
def test_a_worker_that_fails_is_named_and_the_others_end(tmp_path, fate, error, message):
    with pytest.raises(error, match=message):
        share_out(Piece, (str(tmp_path), fate), range(4), 2, lambda count: None)
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = (
        "from processes.workers import share_out\nfrom tests.processes.pieces import Piece\n"
        f"share_out(Piece, ({str(tmp_path)!r}, 'endless'), range(2), 2, lambda count: print(flush=True))\n"
    )
    file = tmp_path / "parent.py"
    file.write_text(f"if __name__ == '__main__':\n {script.replace(chr(10), chr(10) + ' ')}")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(file)], env=environment, stdout=subprocess.PIPE)
    parent.stdout.readline()
    workers = [
        child for child in psutil.Process(parent.pid).children() if "spawn_main" in " ".join(child.cmdline())
    ]
    assert len(workers) == 2
    parent.kill()
    parent.communicate()
    _, alive = psutil.wait_procs(workers, timeout=SECONDS)
    assert not alive


def test_what_a_study_started_stops_when_it_is_killed(tmp_path):
    """As on Ctrl-C: between two steps. It went on to the end of its training, and then wrote what nobody read."""
    file = tmp_path / "study.py"
    file.write_text(
        "import multiprocessing, os, signal, time\nfrom tests.processes.pieces import trial\n"
        "if __name__ == '__main__':\n"
        f" multiprocessing.get_context('spawn').Process(target=trial, args=({str(tmp_path)!r},)).start()\n"
        f" while not os.path.exists({str(tmp_path / 'number')!r}): time.sleep(0.02)\n"
        " os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, str(file)], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    number = int((tmp_path / "number").read_text())
    deadline = time.monotonic() + SECONDS
    while psutil.pid_exists(number) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(number) and (tmp_path / "stopped").exists()
