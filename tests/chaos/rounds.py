"""One round of each kind: a few cases, from a generator of random numbers of its own."""

import dataclasses
import importlib.util
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from tests.chaos import damage as damages
from tests.chaos import inputs, many, paths, room, steps
from tests.chaos.canary import READ, Canary
from tests.chaos.cases import Case
from tests.chaos.children import Child
from tests.chaos.clock import jumps
from tests.chaos.jobs import CLUSTER, JOBS, Job, prepared
from tests.chaos.kills import at_once, kills, whole, worker_kills

KILLS = 4  # in one folder, before the command runs to its end
WITH_WORKERS = ("shards", "study")
COMMANDS = ("database", "generate --explain", "publish", "retrofit")  # a worker's word stands in its log
QUICK = ("cell", "database", "generate --explain", "publish", "retrofit")


class Ground:
    """What all rounds start from, made once below `root`: a template folder, and what every job gives when
    nobody disturbs it.
    """

    def __init__(self, root: Path, jobs: Collection[str] = ()):
        self.root, self.jobs = root, jobs
        self.canary = Canary(root / "canary")
        self.canary.make()
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

    def watched(self, cases: Iterator[Case]) -> Iterator[Case]:
        """The cases, and `outside` for one after which something beside the run's folder is another."""
        before = self.canary.state()
        for case in cases:
            outside = READ in case.said or self.canary.state() != before
            yield dataclasses.replace(case, outcome="outside") if outside else case
            if self.canary.state() != before:
                shutil.rmtree(self.canary.folder)
                self.canary.make()

    @cached_property
    def by_two(self) -> dict[str, str]:
        """What two processes make that nobody disturbs."""
        return many.undisturbed(self.template, self.root / "by-two")

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

    def job(self, random: np.random.Generator, of: Collection[str] = ()) -> Job:
        """One of these, or of those that were asked for; of all mostly a quick one."""
        names = self.jobs or of or (QUICK if random.random() < 0.85 else [job.name for job in JOBS])
        jobs = [job for job in JOBS if job.name in names]
        return jobs[random.integers(len(jobs))]


def _kills(ground: Ground, random: np.random.Generator, number: int) -> Iterator[Case]:
    job = ground.job(random)
    seconds, expected = ground.undisturbed(job)
    yield from kills(
        job, ground.template, ground.of(job) / f"killed-{number}", seconds, expected, random, KILLS
    )


def _at_once(ground: Ground, random: np.random.Generator, number: int) -> Iterator[Case]:
    job = ground.job(random)
    folder = ground.of(job) / f"twice-{number}"
    yield from at_once(job, ground.template, folder, ground.undisturbed(job)[1], random)


READ_BY = (("generate --explain", "finished/retro"), ("retrofit", "finished/gopher"), ("generate --explain", "artifacts"),
           ("cell", "artifacts"), ("search", "served"), ("search", "served"))  # fmt: skip


def _damage(ground: Ground, random: np.random.Generator, number: int) -> Iterator[Case]:
    pairs = [pair for pair in READ_BY if not ground.jobs or pair[0] in ground.jobs]
    name, target = pairs[random.integers(len(pairs))]
    job = next(job for job in JOBS if job.name == name)
    folder = ground.of(job) / f"damaged-{number}"
    folder.mkdir()
    expected = ground.undisturbed(job)[1]
    yield from damages.damaged(job, ground.template, folder, target, expected, random)


def _room(ground: Ground, random: np.random.Generator, number: int) -> Iterator[Case]:
    job = ground.job(random, COMMANDS)
    folder, expected = ground.of(job) / f"room-{number}", ground.undisturbed(job)[1]
    folder.mkdir()
    if room.may_mount():
        yield from room.full_disks(job, ground.template, folder, ground.added(job), expected, random, 4)
        yield from room.read_only(job, ground.template, folder, expected)
    yield from room.no_handles(job, ground.template, folder, expected, random)


def _options(ground: Ground, random: np.random.Generator, number: int) -> Iterator[Case]:
    folder = ground.root / f"options-{number}"
    shutil.copytree(ground.template, folder)
    yield from inputs.options(folder, random, 10)


def _workers(ground: Ground, random: np.random.Generator, number: int) -> Iterator[Case]:
    job = ground.job(random, WITH_WORKERS)
    seconds, expected = ground.undisturbed(job)
    folder = ground.of(job) / f"workers-{number}"
    yield from worker_kills(job, ground.template, folder, seconds, expected, random, 3)


def _ray(ground: Ground, random: np.random.Generator, number: int) -> Iterator[Case]:
    seconds, _ = ground.undisturbed(CLUSTER)
    expected = ground.undisturbed(next(job for job in JOBS if job.name == "shards"))[
        1
    ]  # the bytes of one machine
    folder = ground.of(CLUSTER) / f"workers-{number}"
    for case in worker_kills(CLUSTER, ground.template, folder, seconds, expected, random, 2):
        yield dataclasses.replace(case, kind="ray")


def _clock(ground: Ground, random: np.random.Generator, number: int) -> Iterator[Case]:
    job = ground.job(random, QUICK)
    folder = ground.of(job) / f"clock-{number}"
    folder.mkdir()
    yield from jumps(job, ground.template, folder, ground.undisturbed(job)[1], random)


def _two(ground: Ground, random: np.random.Generator, number: int) -> Iterator[Case]:
    folder = ground.root / f"two-{number}"
    yield from many.one_of_two(ground.template, folder, ground.by_two, random, 2)


def _paths(ground: Ground, random: np.random.Generator, number: int) -> Iterator[Case]:
    database = next(job for job in JOBS if job.name == "database")
    ground.undisturbed(database)
    folder = ground.root / f"paths-{number}"
    folder.mkdir()
    yield from paths.leaving(ground.of(database) / "whole-1", folder, ground.canary.folder, random, 8)


ROUNDS: Mapping[str, Callable[[Ground, np.random.Generator, int], Iterator[Case]]] = {
    "kills": _kills,
    "damage": _damage,
    "room": _room,
    "options": _options,
    "corpora": lambda ground, random, number: inputs.corpora(random, 40),
    "folders": lambda ground, random, number: inputs.folders(ground.template, random, 20),
    "results": lambda ground, random, number: inputs.results(random, 5),
    "at once": _at_once,
    "workers": _workers,
    "two processes": _two,
    "paths": _paths,
    "clock": _clock,
    "steps": lambda ground, random, number: steps.growth(ground.template, ground.root / f"steps-{number}"),
} | ({"ray": _ray} if importlib.util.find_spec("ray") is not None else {})  # an extra, which may be missing
