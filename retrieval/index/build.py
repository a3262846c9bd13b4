"""Keys -> an index on disk, of a kind and with parameters that suit their number."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from retrieval.index.index import (
    INDEX,
    holds_keys,
    inverted_file,
    load_index,
    make_index,
    reason,
    rows_of,
    save_index,
)
from retrieval.index.inverted_lists import SHARD, build_lists, can_be_merged, sampled_rows, too_few
from retrieval.index.keys import Keys
from retrieval.index.recall import Recall, doublings, exact_truth, measure_recall, recall_curve, write_recall
from storage.artifacts import artifact

EXACT_BELOW = 2**16
GRAPH_FROM = 2**16  # lists: to compare a query with as many takes longer than to scan those chosen
CODES_FROM = 39 * 256  # chunks: what FAISS asks for to train the 256 values of a byte
# The first nprobe with this recall is taken. Samples err by about 0.01: the aim lies above 0.95.
RECALL_AIM = 0.97
LARGEST_NPROBE = 256


def choose_factory(n: int, d: int) -> str:
    """The FAISS factory string for n keys of d numbers: exact search below 65,536, then `lists_and_codes`.

    benchmarks/README.md has what this rests on.
    """
    return "Flat" if n < EXACT_BELOW else lists_and_codes(n, d)


def lists_and_codes(n: int, d: int) -> str:
    """About 4 √n inverted lists of rotated, product-quantised residuals; of keys, if too few train codes."""
    nlist = min(n, 2 ** round(np.log2(4 * n**0.5)))
    lists = f"IVF{nlist}_HNSW32" if nlist >= GRAPH_FROM else f"IVF{nlist}"
    if n < CODES_FROM:
        return f"{lists},Flat"
    # A byte for 12 numbers: once they are rotated it finds what twice as many bytes find without.
    m = next(m for m in range(min(64, max(8, d // 12)), 0, -1) if d % m == 0)
    return f"OPQ{m},{lists},PQ{m}" if d // m <= 16 else f"{lists},SQ8"


def build_index(
    root: Path, keys: Keys, ids: np.ndarray, groups: np.ndarray, factory: str, made_of: Mapping[str, Any]
) -> Path:
    """The artifact folder of the index over the keys of `ids`, for `retrieval.index.index.load_index`.

    One with inverted lists is made out of memory, searched with the smallest nprobe that finds enough, and
    has its recall beside it (`retrieval.index.recall.read_recall`).

    Args:
        ids: int64, chunks whose keys the index holds.
        groups: int64 [n] by chunk id; recall does not count neighbours of a query's own group.
        factory: "auto" or a FAISS factory string. made_of: names keys and ids, for the artifact's name.

    Raises:
        InputError: FAISS does not know the string, or the keys are too few for what it asks for.
    """
    factory = resolved(factory, len(ids), keys.shape[1])

    def build(folder: Path) -> None:
        write_index(root, folder, keys, ids, groups, factory, made_of)

    return artifact(root, "index", {**made_of, "factory": factory}, build)


def resolved(factory: str, n: int, d: int) -> str:
    """The factory string that "auto" stands for; any other string as it is, once an index of that kind can be
    made: InputError, before anything is, where it cannot.
    """
    if factory == "auto":
        return choose_factory(n, d)
    make_index(factory, d)
    return factory


def write_index(
    root: Path, folder: Path, keys: Keys, ids: np.ndarray, groups: np.ndarray, factory: str,
    made_of: Mapping[str, Any],
) -> None:  # fmt: skip
    """What `build_index` puts into the artifact's folder; its stages are artifacts under `root`."""
    ids = np.asarray(ids, np.int64)
    index = make_index(factory, keys.shape[1])
    if can_be_merged(index):
        index = build_lists(root, folder, keys, ids, factory, made_of)
    else:
        index = build_in_memory(index, keys, ids, factory)
    save_index(index, folder / INDEX)
    if not is_exact(index):
        recall = tuned(load_index(folder), keys, ids, groups)
        if recall.nprobe is not None:
            inverted_file(index).nprobe = recall.nprobe
            save_index(index, folder / INDEX)
        write_recall(folder, recall)


def build_in_memory(index: faiss.Index, keys: Keys, ids: np.ndarray, factory: str) -> faiss.Index:
    """`index` over the keys of `ids`, of any type that FAISS knows."""
    ivf = inverted_file(index)
    if not index.is_trained:
        try:
            index.train(rows_of(keys, ids[sampled_rows(len(ids), ivf.nlist if ivf else 0)]))
        except RuntimeError as error:
            raise too_few(factory, keys.shape[1], len(ids), reason(error)) from error
    index = faiss.IndexIDMap2(index)
    for first in range(0, len(ids), SHARD):
        block = ids[first : first + SHARD]
        index.add_with_ids(rows_of(keys, block), block)
    return index


def is_exact(index: faiss.Index) -> bool:
    return holds_keys(index) and inverted_file(index) is None


def tuned(index: faiss.Index, keys: Keys, ids: np.ndarray, groups: np.ndarray) -> Recall:
    """Recall at the smallest nprobe that reaches the aim; at the largest tried where none does."""
    ivf = inverted_file(index)
    if ivf is None:
        return measure_recall(index, keys, ids, groups)
    truth = exact_truth(keys, ids, groups)
    nprobes = doublings(min(ivf.nlist, LARGEST_NPROBE))
    curve = recall_curve(index, keys, groups, truth, nprobes)
    chosen = next((point for point in curve if point[2] >= RECALL_AIM), curve[-1])
    return Recall(truth.k, len(truth.rows), *chosen, tuple(curve))
