"""Two or more workers that take turns on one machine: while one runs, the others are idle."""

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

ROOT = Path(__file__).parents[1]
SPREAD = "ratio of median times; in brackets the middle half of the ratios of paired bursts"
PEERS_PYTHON = ROOT / ".venv-bench/bin/python"


class Worker:
    """A process of benchmarks.ours or benchmarks.peers. `facts` is what it reported when it was ready."""

    def __init__(self, side: str, job: Mapping[str, Any]):
        python = {"ours": sys.executable, "peers": str(PEERS_PYTHON)}[side]
        self._process = subprocess.Popen(
            [python, "-m", f"benchmarks.{side}", json.dumps(job)], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.facts = self._answer()

    def seconds(self) -> float:
        """The time of one burst."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()["seconds"]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"A worker ended without an answer: {' '.join(self._process.args)}")
        return json.loads(line)


def alternate(
    jobs: Mapping[str, tuple[str, Any]], repeats: int
) -> tuple[dict[str, list[float]], dict[str, dict[str, Any]]]:
    """Starts a worker for each of `jobs` (name -> (side, job)), then runs A B … A B …, `repeats` times.

    Returns: seconds of every burst, and each worker's facts, by name.
    """
    workers = {}
    try:
        for name, (side, job) in jobs.items():
            tqdm.write(f"  starting {name}")
            workers[name] = Worker(side, job)
        seconds = {name: [] for name in jobs}
        for _ in tqdm(range(repeats), desc="  repeats", leave=False):
            for name, worker in workers.items():
                seconds[name].append(worker.seconds())
        return seconds, {name: dict(worker.facts) for name, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.close()


def speed_ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """How many times as fast ours is for the same work: the ratio of medians, and the spread (the middle
    half) of the ratios of paired bursts.
    """
    paired = [b / a for a, b in zip(ours, theirs)]
    low, _, high = statistics.quantiles(paired, n=4) if len(paired) > 1 else paired * 3
    return {
        "ratio": statistics.median(theirs) / statistics.median(ours),
        "paired_low": low,
        "paired_high": high,
    }
