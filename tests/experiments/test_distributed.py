"""The comparison in two processes of four devices each: the same losses as in one process on one device, one
process killed on the way, and the same command again.

Of the finished run that other tests share two things are taken away, and made here by two processes while the
rest is found done: PaLM as a whole, and RETRO's losses with neighbours, for which a checkpoint that one
process wrote comes back onto the devices of two.
"""

import shutil
import signal
import time

import numpy as np
import pytest

from command import command
from experiments.generate import Options, generate
from tests.experiments.smoke import command_line
from tests.many_processes import ROOT, SECONDS, ends, environment, free_address, start, start_all
from training.metrics import read_metrics

CELLS = [f"{name}/seed-0" for name in ("palm", "gopher", "retro", "retro-copying")]
CELL, EVALUATED = "palm/seed-0", "retro/seed-0/evaluation-on.npy"


@pytest.fixture(scope="module")
def distributed(run, tmp_path_factory):
    """(folder of the uninterrupted run in one process, folder of ours, the lines of metrics that were there
    when process 1 was killed, how the first two processes ended, how the second two did).
    """
    out, artifacts, _ = run
    ours = tmp_path_factory.mktemp("distributed")
    shutil.copytree(out, ours / "out", ignore=shutil.ignore_patterns("palm", "results.json"))
    (ours / "out" / EVALUATED).unlink()
    arguments = command_line(ours / "out", artifacts, "--mesh", "1x4x2")
    processes = start_all(arguments)
    metrics, deadline = ours / "out" / CELL / "metrics.jsonl", time.monotonic() + SECONDS
    while not (metrics.exists() and metrics.read_text().count("\n") >= 4):
        assert all(process.poll() is None for process in processes), ends(processes)
        assert time.monotonic() < deadline, ends(processes, seconds=1)
        time.sleep(0.02)
    processes[1].send_signal(signal.SIGKILL)
    first = ends(processes)
    before = read_metrics(ours / "out" / CELL)
    second = ends(start_all(arguments))
    return out, ours / "out", before, first, second


def test_the_other_process_ends_and_says_why(distributed):
    _, _, _, [(code, _, said), (killed, _, _)], _ = distributed
    assert killed == -signal.SIGKILL and code == 1
    assert "Process 1 of this run is gone" in said and "again with the same command" in said


def test_the_same_command_goes_on_and_finishes(distributed):
    _, ours, before, _, second = distributed
    assert [code for code, _, _ in second] == [0, 0], second
    lines = read_metrics(ours / CELL)
    assert [line["step"] for line in lines] == list(range(1, 13))
    saved = [line for line in lines if line in before]  # seconds and all
    assert len(saved) >= 2, "it began anew"


def test_losses_equal_those_of_one_process(distributed):
    """Sums over devices are rounded in another order, 12 steps long; nothing else differs."""
    out, ours, _, _, _ = distributed
    for name in ("loss", "grad_norm"):
        alone, together = ([line[name] for line in read_metrics(folder / CELL)] for folder in (out, ours))
        np.testing.assert_allclose(together, alone, rtol=1e-5)
    for losses in (f"{CELL}/evaluation-dense.npy", EVALUATED):
        alone, together = (np.load(folder / losses) for folder in (out, ours))
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_one_process_writes_and_shows(distributed):
    _, ours, _, _, [(_, shown, progress), (_, silent, complaints)] = distributed
    assert "RETRO on" in shown and str(ours / "results.json") in shown and "palm seed 0" in progress
    # Not `silent == ""`: gloo writes there too, from several threads that interrupt each other's lines.
    assert not any(word in silent for word in ("RETRO", "results.json", "step")) and "step" not in complaints
    assert (ours / "results.json").exists() and (ours / "report.html").exists()
    assert len(list((ours / CELL).glob("events*"))) == 2  # one of each start


@pytest.mark.exhaustive
@pytest.mark.parametrize("strategy", ["mesh", "pods"])
def test_the_whole_comparison_from_nothing(run, tmp_path, strategy):
    """All four models; for `pods` each process is a pod."""
    out, _, _ = run
    arguments = ["--mesh", "2x2x2", "--strategy", strategy]
    results = ends(start_all(command_line(tmp_path / "out", tmp_path / "artifacts", *arguments)))
    assert [code for code, _, _ in results] == [0, 0], results
    for trial in CELLS:
        alone, together = (
            [line["loss"] for line in read_metrics(folder / trial)] for folder in (out, tmp_path / "out")
        )
        np.testing.assert_allclose(together, alone, rtol=1e-5)
        for losses in (out / trial).glob("evaluation-*.npy"):
            ours = np.load(tmp_path / "out" / trial / losses.name)
            np.testing.assert_allclose(ours, np.load(losses), rtol=1e-4, atol=1e-4)


# Commands that are refused. They end before anything is computed.

NOTHING = """
from dataclasses import dataclass
from command import command
@dataclass(frozen=True)
class Options:
    steps: int = 12
def nothing(options):
    print("ran")
command(nothing, Options, "", many_processes=True)
"""


def test_different_configurations_are_detected_at_the_start():
    address = free_address()
    results = ends(
        start("-c", NOTHING, "--steps", 12 + process, **environment(address, 2, process))
        for process in range(2)
    )
    for code, printed, said in results:
        assert (code, printed) == (2, "")
        assert "the same configuration: --steps is 12 in process 0 and 13 in process 1" in said


def test_different_code_is_detected_at_the_start(tmp_path):
    """Process 1 runs from a checkout in which one file is another."""
    for room in [path.parent.name for path in ROOT.glob("*/__init__.py")]:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("results", "__pycache__"))
    for file in ROOT.glob("*.py"):
        shutil.copy(file, tmp_path)
    with open(tmp_path / "training/losses.py", "a") as file:
        file.write("# changed\n")
    address = free_address()
    results = ends(
        start("-c", NOTHING, cwd=cwd, **environment(address, 2, process))
        for process, cwd in enumerate([ROOT, tmp_path])
    )
    for code, printed, said in results:
        assert (code, printed) == (2, "")
        assert "the same code: training/losses.py is" in said and "from the same commit" in said


def test_what_runs_in_one_process_says_so(monkeypatch, capsys):
    for name, value in environment("host:1", 2, 1).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        command(generate, Options, "", ["--run", "nowhere"])
    assert stopped.value.code == 2
    assert "this is process 1 of 2, but experiments.generate runs in one" in capsys.readouterr().err
