"""No room: a disk that is full, a folder that is read-only, no file handles left. Afterwards, with room, the
same command ends with the same bytes.
"""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.chaos.cases import Case, outcome_of
from tests.chaos.children import Child, End
from tests.chaos.jobs import Job

FULL = ("The disk is full", "No space left on device", "is full:", "requested and", "Not enough free space")


def full_disks(
    job: Job, template: Path, folder: Path, needed: int, expected: dict[str, str], random: np.random.Generator,
    count: int,
) -> Iterator[Case]:  # fmt: skip
    """`count` disks that are full after some of the `needed` bytes that `job` adds. What found room all the
    same, as for a file that is only read over, does not count among them.
    """
    size = sum(path.stat().st_size for path in template.rglob("*") if path.is_file())
    for number in range(count):
        room = int(random.uniform(0, needed))
        place = folder / f"disk-{number}"
        with disk(place, 2 * size + 4 * needed + 2**22):
            shutil.copytree(template, place, dirs_exist_ok=True)
            used = shutil.disk_usage(place).used
            resize(place, used + room)
            end = Child(job.run, place, log=folder / f"{number}.log").end()
            full = any(words in end.said for words in FULL)
            kind = "full disks" if full else "room"
            yield _case(
                f"{job.name}: {room:,} of {needed:,} bytes left", end, job, place, expected, kind=kind
            )
            resize(place, 2 * size + 4 * needed + 2**22)
            end = Child(job.run, place, log=folder / f"{number}-again.log").end()
            yield _case(f"{job.name}: after {room:,} bytes, with room again", end, job, place, expected, True)


def read_only(job: Job, template: Path, folder: Path, expected: dict[str, str]) -> Iterator[Case]:
    """The whole folder read-only, then writable again."""
    size = sum(path.stat().st_size for path in template.rglob("*") if path.is_file())
    place = folder / "read-only"
    with disk(place, 8 * size + 2**24):
        shutil.copytree(template, place, dirs_exist_ok=True)
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        end = Child(job.run, place, log=folder / "read-only.log").end()
        yield _case(f"{job.name}: read-only", end, job, place, expected)
        subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
        end = Child(job.run, place, log=folder / "writable.log").end()
        yield _case(f"{job.name}: writable again", end, job, place, expected, True)


def no_handles(
    job: Job, template: Path, folder: Path, expected: dict[str, str], random: np.random.Generator
) -> Iterator[Case]:
    """Few file handles for one run, as many as usual for the next."""
    limit = int(random.integers(16, 120))
    place = folder / "handles"
    shutil.copytree(template, place)
    end = Child(with_handles, job.run, place, limit, log=folder / "handles.log").end()
    yield _case(f"{job.name}: {limit} file handles", end, job, place, expected)
    end = Child(job.run, place, log=folder / "handles-again.log").end()
    yield _case(f"{job.name}: after {limit} file handles", end, job, place, expected, True)
    shutil.rmtree(place)


def with_handles(run, folder: Path, limit: int) -> None:
    """Runs with so many file handles at most."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    run(folder)


def _case(
    what: str, end: End, job: Job, place: Path, expected: dict[str, str], undisturbed: bool = False,
    kind: str = "room",
) -> Case:  # fmt: skip
    outcome = outcome_of(end, end.code == 0 and dict(job.same(place)) == expected)
    if undisturbed and outcome == "named":
        outcome = "exit"
    return Case(kind, what, outcome, end.said)


def may_mount() -> bool:
    """Whether this user may make disks of a size."""
    return hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("mount") is not None


@contextmanager
def disk(place: Path, size: int) -> Iterator[None]:
    """A disk of so many bytes at `place`."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def resize(place: Path, size: int) -> None:
    """Makes the disk so large."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)
