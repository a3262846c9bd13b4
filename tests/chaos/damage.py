"""Files that are cut, emptied, changed by a bit, deleted, or another run's: named, repaired, or read as before."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.chaos.cases import Case, outcome_of
from tests.chaos.children import Child
from tests.chaos.jobs import Job

DAMAGES = ("cut", "emptied", "flipped", "deleted", "swapped")


def damage(path: Path, how: str, random: np.random.Generator, other: Path | None) -> str:
    """Damages a file, and says how exactly; other: what it is swapped with."""
    whole = path.read_bytes()
    if how == "deleted":
        path.unlink()
        return how
    if how == "swapped":
        shutil.copyfile(other, path)
        return f"swapped with {other.name}"
    if how == "emptied" or not whole:
        path.write_bytes(b"")
        return "emptied"
    at = int(random.integers(len(whole)))
    if how == "cut":
        path.write_bytes(whole[:at])
        return f"cut to {at} of {len(whole)} bytes"
    bit = int(random.integers(8))
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
    return f"bit {bit} of byte {at} flipped"


def damaged(
    job: Job, template: Path, folder: Path, target: str, expected: dict[str, str], random: np.random.Generator
) -> Iterator[Case]:
    """One file below `target` damaged in each way, and `job` run in a copy of `template`; where it gives a
    word, once more after what it named was removed.
    """
    paths = sorted(path for path in (template / target).rglob("*") if path.is_file())
    path = paths[random.integers(len(paths))]
    name = str(path.relative_to(template))
    others = [other for other in paths if other.suffix == path.suffix and other != path]
    for how in DAMAGES:
        if how == "swapped" and not others:
            continue
        copy = folder / how
        shutil.copytree(template, copy)
        other = others[random.integers(len(others))] if others else None
        what = damage(copy / name, how, random, other)
        end = Child(job.run, copy, log=folder / f"{how}.log").end()
        alike = end.code == 0 and dict(job.same(copy)) == expected
        yield Case("damage", f"{job.name}: {name} {what}", outcome_of(end, alike), end.said)
        shutil.rmtree(copy)
