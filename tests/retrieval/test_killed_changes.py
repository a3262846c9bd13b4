"""Killed at any moment and started again, a build and its changes end with the files of one that was not."""

import multiprocessing
import shutil
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from data.documents import Document
from retrieval.database import changes, version
from retrieval.database.recipe import Recipe
from retrieval.index import inverted_lists
from retrieval.keys import shards
from retrieval.neighbours import table as neighbours
from tests.many_processes import SECONDS

TINY = str(Path(__file__).parents[1] / "models/bert/tiny")
RECIPE = Recipe(vocab_size=300, encoder=TINY, index="IVF4,PQ4x4", spare=3)
WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu".split()


def documents(name: str, count: int) -> list[Document]:
    rng = np.random.default_rng(count)
    texts = [" ".join(rng.choice(WORDS, rng.integers(1, 150))) for _ in range(count)]
    return [Document(text, f"{name}/{n}", "docs", f"{name}/{n}") for n, text in enumerate(texts)]


def change(folder: Path) -> None:
    """Builds, adds and removes, each unless it was done; in many shards of every kind."""
    jax.config.update("jax_compilation_cache_dir", str(folder.parent / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    shards.SHARD, inverted_lists.SHARD, neighbours.ROWS = 64, 100, 50
    number = version.read_version(folder).number if (folder / version.CURRENT).exists() else 0
    if number < 2:
        changes.build(folder, documents("first", 120), RECIPE)
        changes.add(folder, documents("later", 30))
    if number < 3:
        changes.remove(folder, ["first/3", "later/7"])


def started(folder: Path) -> multiprocessing.Process:
    # A server that has imported everything and used nothing of it: its children start at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.retrieval.test_killed_changes"])
    process = context.Process(target=change, args=(folder,))
    process.start()
    return process


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.exhaustive)])
def test_the_same_files_come_out(tmp_path, kills):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    start = time.monotonic()
    process = started(whole)
    process.join(SECONDS)
    assert process.exitcode == 0
    seconds, random = time.monotonic() - start, np.random.default_rng(kills)
    while kills:
        process = started(killed)
        process.join(random.uniform(0, seconds))
        process.kill()
        process.join(SECONDS)
        if process.exitcode == 0:  # it was done before: on to another folder
            assert contents(killed) == contents(whole)
            shutil.rmtree(killed)
        else:
            kills -= 1
    process = started(killed)
    process.join(SECONDS)
    assert process.exitcode == 0
    assert contents(killed) == contents(whole)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
