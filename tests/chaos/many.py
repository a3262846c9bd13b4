"""Two processes of one run, of which one is killed: the other ends with a word, and both started again end with
the bytes of a run that was not disturbed.
"""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.chaos.cases import Case, outcome_of
from tests.chaos.children import Child, End, wait_until
from tests.chaos.jobs import files, together
from tests.many_processes import free_address

SAME = files("together")
SECONDS = 120.0  # after which one whose partner is dead is said to hang


def pair(folder: Path, log: Path, dies_at: dict[int, int] | None = None) -> list[Child]:
    """Both processes. dies_at: before which change of the file system one kills itself."""
    address = free_address()
    return [
        Child(together, folder, process, address, log=log.with_name(f"{log.name}-{process}"),
              dies_at=(dies_at or {}).get(process))
        for process in range(2)
    ]  # fmt: skip


def undisturbed(template: Path, folder: Path) -> dict[str, str]:
    """What comes out."""
    shutil.copytree(template, folder)
    ends = [child.end() for child in pair(folder, folder.with_name(f"{folder.name}.log"))]
    if any(end.code != 0 for end in ends):
        raise RuntimeError("\n".join(end.said for end in ends))
    return SAME(folder)


def one_of_two(
    template: Path, folder: Path, expected: dict[str, str], random: np.random.Generator, count: int
) -> Iterator[Case]:
    """`count` kills in one folder, then both to the end."""
    shutil.copytree(template, folder)
    told = []
    for number in range(count):
        victim, log = int(random.integers(2)), folder.with_name(f"{folder.name}-{number}.log")
        if random.random() < 0.5:
            dies_at = int(random.integers(1, 60))
            children = pair(folder, log, {victim: dies_at})
            what = f"process {victim} before change {dies_at} of the file system"
        else:
            children, after = pair(folder, log), float(random.uniform(0, 12))
            wait_until(lambda child=children[victim]: not child.running(), after)
            children[victim].signal(signal.SIGKILL)
            what = f"process {victim} after {after:.2f} s"
        ends = [child.end(SECONDS) for child in children]
        told.append((what, ends[victim], ends[1 - victim]))
    lasts = [child.end() for child in pair(folder, folder.with_name(f"{folder.name}-last.log"))]
    final = [outcome_of(last, last.code == 0 and SAME(folder) == expected) for last in lasts]
    for what, victim, other in told:
        outcome = survivor(victim, other)
        if outcome == "named":
            outcome = next((one for one in final if one != "same"), "same")
        said = "\n".join(end.said for end in (victim, other, *lasts))
        yield Case("two processes", what, outcome, "" if outcome == "same" else said)
    shutil.rmtree(folder)


def survivor(victim: End, other: End) -> str:
    """How the one that was not killed ended."""
    if other.code is None:
        return "hang"
    if victim.code == 0 and other.code == 0:  # before it could be killed
        return "named"
    if other.traceback:
        return "traceback"
    told = "of this run is gone" in other.said or "another process was lost" in other.said
    met = "could not reach the coordinator" in other.said or "did not come to" in other.said
    return "named" if told or met or other.code == 0 or "is not process 0" in other.said else "exit"
