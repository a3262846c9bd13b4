"""One round of each kind: a few cases, from a generator of random numbers of its own."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from tests.chaos import damage as damages
from tests.chaos import inputs, room
from tests.chaos.cases import Case
from tests.chaos.children import Child
from tests.chaos.jobs import JOBS, Job, prepared
from tests.chaos.kills import at_once, kills, whole

KILLS = 4  # in one folder, before the command runs to its end
QUICK = ("cell", "database", "generate --explain", "publish", "retrofit")


class Ground:
    """What all rounds start from, made once below `root`: a template folder, and what every job gives when
    nobody disturbs it.
    """

    def __init__(self, root: Path):
        self.root = root
        self._undisturbed: dict[str, tuple[float, dict[str, str]]] = {}

    @cached_property
    def template(self) -> Path:
        folder = self.root / "template"
        folder.mkdir()
        end = Child(prepared, folder, log=self.root / "template.log").end()
        if end.code != 0:
            raise RuntimeError(f"what the jobs start from cannot be made: {end.said}")
        return folder

    def undisturbed(self, job: Job) -> tuple[float, dict[str, str]]:
        """Seconds, and what comes out; the second time, when all is compiled."""
        if job.name not in self._undisturbed:
            for time in range(2):
                self._undisturbed[job.name] = whole(job, self.template, self.of(job) / f"whole-{time}")
        return self._undisturbed[job.name]

    def of(self, job: Job) -> Path:
        folder = self.root / job.name.replace(" ", "")
        folder.mkdir(exist_ok=True)
        return folder

    def added(self, job: Job) -> int:
        """How many bytes the job adds to the template."""
        self.undisturbed(job)
        whole_size, before = (
            sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            for folder in (self.of(job) / "whole-1", self.template)
        )
        return whole_size - before


def _job(number: int, of: tuple[str, ...] | None = None) -> Job:
    jobs = [job for job in JOBS if of is None or job.name in of]
    return jobs[number % len(jobs)]


def _kills(ground: Ground, random: np.random.Generator, number: int) -> Iterator[Case]:
    job = _job(int(random.integers(1000)))
    seconds, expected = ground.undisturbed(job)
    yield from kills(
        job, ground.template, ground.of(job) / f"killed-{number}", seconds, expected, random, KILLS
    )


def _at_once(ground: Ground, random: np.random.Generator, number: int) -> Iterator[Case]:
    job = _job(int(random.integers(1000)))
    folder = ground.of(job) / f"twice-{number}"
    yield from at_once(job, ground.template, folder, ground.undisturbed(job)[1], random)


READ_BY = (("generate --explain", "finished/retro"), ("retrofit", "finished/gopher"), ("generate --explain", "artifacts"),
           ("cell", "artifacts"))  # fmt: skip


def _damage(ground: Ground, random: np.random.Generator, number: int) -> Iterator[Case]:
    name, target = READ_BY[random.integers(len(READ_BY))]
    job = next(job for job in JOBS if job.name == name)
    folder = ground.of(job) / f"damaged-{number}"
    folder.mkdir()
    expected = ground.undisturbed(job)[1]
    yield from damages.damaged(job, ground.template, folder, target, expected, random)


def _room(ground: Ground, random: np.random.Generator, number: int) -> Iterator[Case]:
    job = _job(int(random.integers(1000)), QUICK)
    folder, expected = ground.of(job) / f"room-{number}", ground.undisturbed(job)[1]
    folder.mkdir()
    if room.may_mount():
        yield from room.full_disks(job, ground.template, folder, ground.added(job), expected, random, 2)
        yield from room.read_only(job, ground.template, folder, expected)
    yield from room.no_handles(job, ground.template, folder, expected, random)


def _options(ground: Ground, random: np.random.Generator, number: int) -> Iterator[Case]:
    folder = ground.root / f"options-{number}"
    shutil.copytree(ground.template, folder)
    yield from inputs.options(folder, random, 10)


ROUNDS: Mapping[str, Callable[[Ground, np.random.Generator, int], Iterator[Case]]] = {
    "kills": _kills,
    "damage": _damage,
    "room": _room,
    "options": _options,
    "corpora": lambda ground, random, number: inputs.corpora(random, 40),
    "folders": lambda ground, random, number: inputs.folders(ground.template, random, 20),
    "results": lambda ground, random, number: inputs.results(random, 5),
    "at once": _at_once,
}
