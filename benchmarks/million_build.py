"""The index over a million keys, built stage by stage in processes of their own: seconds, memory, a kill.

The stages are those of `retrieval.index.build`; every process has one thread.
"""

import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from retrieval.index.build import build_index
from retrieval.index.inverted_lists import SHARD, filled_shard, merge, trained_index
from retrieval.index.keys import StoredKeys

KILLED_AFTER = 3  # shards


def train(root: Path, paths: list[Path], d: int, groups: np.ndarray, factory: str, made_of: dict) -> dict:
    """The first stage of the index over all keys."""
    faiss.omp_set_num_threads(1)
    keys = StoredKeys(paths, d)
    before, start = peak_memory(), time.process_time()
    trained_index(root, keys, np.arange(len(keys)), factory, made_of)
    return {"seconds": time.process_time() - start, "memory": memory(before)}


def build(root: Path, paths: list[Path], d: int, groups: np.ndarray, factory: str, made_of: dict) -> dict:
    """Every other stage, in the order of `retrieval.index.build`."""
    faiss.omp_set_num_threads(1)
    keys = StoredKeys(paths, d)
    ids = np.arange(len(keys))
    before, seconds = peak_memory(), {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = work()
        seconds[name] = seconds.get(name, 0) + time.process_time() - start
        return result

    trained = trained_index(root, keys, ids, factory, made_of)
    there = len(list(root.glob("filled-*")))
    shards = [
        timed("fill", partial(filled_shard, root, trained, keys, ids, first, factory, made_of))
        for first in range(0, len(ids), SHARD)
    ]
    scratch = root / "merged.bin"
    timed("merge", lambda: merge(shards, scratch))
    scratch.unlink()
    folder = timed(
        "merge again, measure recall", lambda: build_index(root, keys, ids, groups, factory, made_of)
    )
    return {
        "shards filled": len(shards) - there,
        "shards": len(shards),
        "seconds": seconds,
        "memory": memory(before),
        "files": {path.name: path.stat().st_size for path in folder.iterdir()},
    }


def memory(before: int) -> dict[str, int]:
    """Bytes resident at most: before the work (Python and its libraries), in all, and the difference."""
    return {"before": before, "peak": peak_memory(), "beyond": peak_memory() - before}


def killed_build(root: Path, *job: Any) -> dict:
    """Starts `build` and kills it as soon as some shards are there."""
    there = len(list(root.glob("filled-*")))
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=build, args=(root, *job))
    process.start()
    while process.is_alive() and len(list(root.glob("filled-*"))) < there + KILLED_AFTER:
        time.sleep(0.2)
    peak = memory_of(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return {"shards there": len(list(root.glob("filled-*"))), "peak_bytes": peak}


def in_a_process(work: Callable, *arguments: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def memory_of(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def peak_memory() -> int:
    """Bytes resident at most so far, pages of mapped files included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
