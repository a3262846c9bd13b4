"""Killed at any moment and started again, a command ends with the bytes of one that was not."""

import contextlib
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil

from tests.chaos.cases import Case, outcome_of
from tests.chaos.children import Child, wait_until
from tests.chaos.jobs import Job

LAST_WORD = "or Ray ended it because its cluster"
ORPHAN_SECONDS = 20.0  # within which what a dead parent started has to end
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def whole(job: Job, template: Path, folder: Path) -> tuple[float, dict[str, str]]:
    """How long `job` takes when nobody disturbs it, in seconds, and what comes out."""
    shutil.copytree(template, folder, dirs_exist_ok=True)
    start = time.monotonic()
    end = Child(job.run, folder, log=folder / "log").end()
    if end.code != 0:
        raise RuntimeError(f"{job.name} does not end by itself: {end.said}")
    return time.monotonic() - start, dict(job.same(folder))


def kills(
    job: Job, template: Path, folder: Path, seconds: float, expected: dict[str, str], random: np.random.Generator,
    count: int, signals: Sequence[signal.Signals] = SIGNALS,
) -> Iterator[Case]:  # fmt: skip
    """`count` kills in one folder, by `signals` at random times and before random changes to the file system;
    then the command runs to its end.
    """
    shutil.copytree(template, folder, dirs_exist_ok=True)
    told = []
    for number in range(count):
        log = folder.with_name(f"{folder.name}-{number}.log")
        if not signals or random.random() < 0.5:
            dies_at = int(random.integers(1, 120))
            child = Child(job.run, folder, log=log, dies_at=dies_at)
            what, by = f"before change {dies_at} of the file system", signal.SIGKILL
        else:
            child, by = Child(job.run, folder, log=log), signals[random.integers(len(signals))]
            after = float(random.uniform(0, 1.1 * seconds))
            what = f"{by.name} after {after:.2f} s"
            wait_until(lambda child=child: not child.running(), after)
            child.remember_family()
            child.signal(by)
        end = child.end()
        if end.code == 0:
            what += " (had ended)"
        told.append((what, end, by, child))
    last = Child(job.run, folder, log=folder.with_name(f"{folder.name}-last.log")).end()
    final = outcome_of(last, last.code == 0 and dict(job.same(folder)) == expected)
    if final == "named":
        final = "exit"  # nothing that was given is at fault
    for what, end, by, child in told:
        outcome, said = final, last.said
        if end.traceback:
            outcome, said = "traceback", end.said
        elif by != signal.SIGKILL and end.code not in (0, 130, -by):
            outcome, said = "exit", end.said
        elif hasattr(child, "_started") and child.orphans():
            gone = wait_until(lambda child=child: not child.orphans(), ORPHAN_SECONDS)
            outcome = outcome if gone else "orphan"
        yield Case("kills", f"{job.name}: {what}", outcome, "" if outcome == "same" else said)
    shutil.rmtree(folder)


def worker_kills(
    job: Job, template: Path, folder: Path, seconds: float, expected: dict[str, str], random: np.random.Generator,
    count: int,
) -> Iterator[Case]:  # fmt: skip
    """`count` kills of one of the processes that `job` starts, or of their parent: the command ends as if
    nothing were, or with a word; and at last with the same bytes. None of them outlives its parent.
    """
    shutil.copytree(template, folder, dirs_exist_ok=True)
    told = []
    for number in range(count):
        child = Child(job.run, folder, log=folder.with_name(f"{folder.name}-{number}.log"))
        wait_until(lambda child=child: child.workers() or not child.running(), seconds + 60)
        after = float(random.uniform(0, seconds))
        wait_until(lambda child=child: not child.running(), after)
        workers, parent = child.workers(), random.random() < 0.3
        child.remember_family()
        if parent:
            child.signal(signal.SIGKILL)
        elif workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                workers[random.integers(len(workers))].kill()
        end = child.end()
        what = f"{'the parent' if parent else 'a worker'} {after:.2f} s after the first worker"
        told.append((what if workers else f"{what} (none was left)", end, child, parent))
    last = Child(job.run, folder, log=folder.with_name(f"{folder.name}-last.log")).end()
    final = outcome_of(last, last.code == 0 and dict(job.same(folder)) == expected)
    for what, end, child, parent in told:
        outcome = outcome_of(end, True)
        if outcome == "exit" and wait_until(lambda child=child: LAST_WORD in child.log.read_text(), 2):
            outcome = "named"  # by what outlives a command that Ray ends
        outcome = final if outcome in ("same", "named") or parent and end.code == -signal.SIGKILL else outcome
        if not wait_until(lambda child=child: not child.orphans(), ORPHAN_SECONDS):
            outcome = "orphan"
        yield Case(
            "workers", f"{job.name}: {what}", outcome, "" if outcome == "same" else end.said + last.said
        )
    shutil.rmtree(folder)


def at_once(
    job: Job, template: Path, folder: Path, expected: dict[str, str], random: np.random.Generator
) -> Iterator[Case]:
    """The same command twice in one folder: the second ends with a word, or waits; the bytes are the same."""
    shutil.copytree(template, folder, dirs_exist_ok=True)
    first = Child(job.run, folder, log=folder.with_name(f"{folder.name}-first.log"))
    time.sleep(float(random.uniform(0, 1)))
    second = Child(job.run, folder, log=folder.with_name(f"{folder.name}-second.log"))
    ends = [first.end(), second.end()]
    if ends[0].code != 0 and ends[1].code != 0:
        ends.append(Child(job.run, folder, log=folder.with_name(f"{folder.name}-third.log")).end())
    alike = dict(job.same(folder)) == expected
    for number, end in enumerate(ends, start=1):
        yield Case("at once", f"{job.name}: number {number}", outcome_of(end, alike), end.said)
    if not alike:
        yield Case("at once", f"{job.name}: both together", "different")
    shutil.rmtree(folder)
