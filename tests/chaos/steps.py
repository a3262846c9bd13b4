"""Two thousand steps with checkpoints and evaluations on the way: memory and open files do not grow."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

from tests.chaos.cases import Case, outcome_of
from tests.chaos.children import Child
from tests.chaos.jobs import long

STEPS, BETWEEN = 2000, 200  # evaluations and checkpoints
FLAT = 0.05  # of the memory


def growth(template: Path, folder: Path, steps: int = STEPS, between: int = BETWEEN) -> Iterator[Case]:
    """One training; what is compared is its second stretch between two evaluations and its last."""
    shutil.copytree(template, folder)
    child = Child(long, folder, steps, between, log=folder.with_name(f"{folder.name}.log"))
    samples = []
    while child.running():
        samples += _sample(child.pid, folder / "long/metrics.jsonl")
        time.sleep(0.25)
    end = child.end()
    early, late = ([seen for seen in samples if start <= seen[0] < start + between] for start in
                   (between, steps - between))  # fmt: skip
    if not (early and late):
        yield Case("steps", f"{steps} steps", "exit" if end.code == 0 else outcome_of(end, True), end.said)
        return
    (rss, handles), (rss_late, handles_late) = (
        np.median(np.array(part)[:, 1:], axis=0) for part in (early, late)
    )
    what = (
        f"{steps:,} steps, {steps // between} evaluations: memory {rss / 2**20:.1f} MiB from step {between} on, "
        f"{rss_late / 2**20:.1f} MiB in the last {between}; open files {handles:.0f} and {handles_late:.0f}"
    )
    flat = rss_late < (1 + FLAT) * rss and handles_late <= handles
    yield Case(
        "steps",
        what,
        outcome_of(end, flat),
        "" if flat else json.dumps(samples[:: max(1, len(samples) // 50)]),
    )
    shutil.rmtree(folder)


def _sample(pid: int, metrics: Path) -> list[tuple[int, int, int]]:
    """(step, bytes, open files) as they are now; nothing before the first step."""
    try:
        process, lines = psutil.Process(pid), metrics.read_bytes().splitlines()
        return [(json.loads(lines[-1])["step"], process.memory_info().rss, process.num_fds())]
    except (OSError, IndexError, ValueError, psutil.NoSuchProcess):
        return []
