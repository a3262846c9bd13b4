"""A clock that jumps by hours, forward and back, and files whose times say nothing: the same bytes."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests.chaos.cases import Case, outcome_of
from tests.chaos.children import Child
from tests.chaos.jobs import Job

HOURS = 72.0


def with_clock(run: Callable[[Path], None], folder: Path, seed: int) -> None:
    """Runs where every fifth look at the clock finds it hours off in another way."""
    true, random, off = time.time_ns, np.random.default_rng(seed), 0

    def time_ns() -> int:
        nonlocal off
        if random.random() < 0.2:
            off = int(random.uniform(-HOURS, HOURS) * 3.6e12)
        return true() + off

    time.time_ns, time.time = time_ns, lambda: time_ns() / 1e9
    run(folder)


def jumps(
    job: Job, template: Path, folder: Path, expected: dict[str, str], random: np.random.Generator
) -> Iterator[Case]:
    """A run from its start, and one that is killed and started again."""
    for dies_at in (None, int(random.integers(1, 120))):
        place = folder / str(dies_at)
        shutil.copytree(template, place)
        if dies_at is not None:
            shuffle(place, random)
            seed = int(random.integers(2**31))
            Child(with_clock, job.run, place, seed, log=folder / "killed.log", dies_at=dies_at).end()
        shuffle(place, random)
        end = Child(with_clock, job.run, place, int(random.integers(2**31)), log=folder / "log").end()
        alike = end.code == 0 and dict(job.same(place)) == expected and not negative(place)
        what = "from the start" if dies_at is None else f"killed before change {dies_at} of the file system"
        yield Case("clock", f"{job.name}: {what}", outcome_of(end, alike), end.said)
        shutil.rmtree(place)


def shuffle(folder: Path, random: np.random.Generator) -> None:
    """Gives every file a time of its own."""
    for path in folder.rglob("*"):
        when = time.time() + random.uniform(-HOURS, HOURS) * 3600
        os.utime(path, (when, when), follow_symlinks=False)


def negative(folder: Path) -> list[str]:
    """The durations below zero that stand in files of a run."""
    found = []
    for path in [*folder.rglob("metrics.jsonl"), *folder.rglob("results.json"), *folder.rglob("cost.json")]:
        for line in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            json.loads(line, object_hook=lambda record, path=path: found.extend(
                f"{path}: {name}" for name, value in record.items()
                if "seconds" in name and isinstance(value, float) and value < 0
            ))  # fmt: skip
    return found
