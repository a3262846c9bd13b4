"""The nearest chunks of many chunks, outside of their own group: found by the index, ordered by the keys.

An index that holds codes finds candidates; their order is by distances between the keys themselves. Shape
suffixes: n chunks, r rows asked for, d dimension of a key, k results.
"""

from collections.abc import Callable
from contextlib import redirect_stdout

import faiss
import numpy as np

from retrieval.index.batched import search_by_list
from retrieval.index.index import (
    every_list_searched,
    holds_keys,
    inverted_file,
    nearest_first,
    reranked,
    rows_of,
    search_lists,
)
from retrieval.index.inverted_lists import can_be_merged, transformed

# How many of the query's own group the first search allows for; where that is too few, it searches again.
OWN_GROUP_ALLOWANCE = 40
# How many beyond k are ordered by their keys where an index holds codes: benchmarks/million.py has the curve.
CANDIDATES = 54
QUERY_ROWS, SEARCH_ENTRIES = 2**14, 2**22
# Fewer queries than this for each list are not worth decoding the lists for.
QUERIES_PER_LIST = 4

# find(rows, width) -> (distances, ids) [r, width]: the nearest chunks of these chunks, own group included.
Find = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def nearest_outside_group(
    index: faiss.Index,
    keys,
    groups: np.ndarray,
    k: int,
    rows: np.ndarray | None = None,
    excluded: np.ndarray | None = None,
    candidates: int = CANDIDATES,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest entries of `index` of another group, for every chunk or for the chunks `rows`.

    Args:
        keys: float32 [n, d] by chunk id, of which `index` holds some.
        groups: int64 [n] by chunk id.
        rows: int64 [r] chunk ids. excluded: int64 ids of chunks that are not there any more.
        candidates: how many beyond k are ordered by their keys, where the index holds codes.

    Returns:
        (distances float32 [r, k], ids int64 [r, k]) sorted by distance, then id. inf and -1 stand only
        where the database holds no more chunks of other groups.
    """
    rows = np.arange(len(keys)) if rows is None else np.asarray(rows, np.int64)
    distances = np.full([len(rows), k], np.inf, np.float32)
    ids = np.full([len(rows), k], -1, np.int64)
    others = np.zeros(len(rows), np.int64)  # found outside the group
    kept = k if holds_keys(index) else k + candidates

    def find(chunks: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        return batched_search(index, rows_of(keys, chunks), width, excluded)

    def fill(at: np.ndarray, allowance: np.ndarray) -> None:
        """Searches so far that `allowance` hits of a row's own group may be thrown away."""
        at, allowance = (array[np.argsort(-allowance, kind="stable")] for array in (at, allowance))
        start = 0
        while start < len(at):
            width = kept + int(allowance[start])
            batch = at[start : start + max(1, min(QUERY_ROWS, SEARCH_ENTRIES // width))]
            distances[batch], ids[batch], others[batch] = outside_group(
                find, keys, groups, rows[batch], width, k, kept
            )
            start += len(batch)

    fill(np.arange(len(rows)), np.full(len(rows), OWN_GROUP_ALLOWANCE))
    short = np.flatnonzero(others < kept)
    own_size = group_sizes(groups)[rows] if len(short) else others
    # An index of codes has to be asked again even if k were found; own groups can be large, hence in steps.
    before = OWN_GROUP_ALLOWANCE
    largest = own_size.max(initial=0)
    for allowance in (largest,) if kept == k else (4 * before, 16 * before, largest):
        short = short[(others[short] < kept) & (own_size[short] > before)]
        fill(short, np.minimum(own_size[short], allowance))
        before = allowance
    short = np.flatnonzero(ids[:, -1] < 0)
    if len(short) and inverted_file(index) is not None:
        with every_list_searched(index):
            fill(short, own_size[short])
    return distances, ids


def outside_group(
    find: Find, keys, groups: np.ndarray, rows: np.ndarray, width: int, k: int, kept: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each row's `width` nearest, the first `kept` of another group; of these the k nearest by their keys.

    Returns:
        (distances [r, k], ids [r, k], how many of another group there were [r]). The distances are between
        keys: FAISS's are rounded differently with the batch, and an index may hold codes for keys.
    """
    found = find(rows, width)[1]
    found = np.where(groups[found] == groups[rows, None], -1, found)
    others = (found >= 0).sum(axis=1)
    first = np.argsort(found < 0, axis=1, kind="stable")[:, :kept]
    return *reranked(keys, rows_of(keys, rows), np.take_along_axis(found, first, axis=1), k), others


def batched_search(
    index: faiss.Index, queries_qd: np.ndarray, k: int, excluded: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`retrieval.index.index.search_lists`, which for many queries at once loads each inverted list once."""
    ivf = inverted_file(index)
    many = ivf is not None and len(queries_qd) * ivf.nprobe >= QUERIES_PER_LIST * ivf.nlist
    if not many or not can_be_merged(index) or (excluded is not None and len(excluded)):
        return search_lists(index, queries_qd, k, excluded)
    with redirect_stdout(None):  # no value of its `verbose` is silent
        return search_by_list(ivf, transformed(index, queries_qd), k)


def group_sizes(groups: np.ndarray) -> np.ndarray:
    """int64 [n]: how many chunks the group of each chunk has."""
    _, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return sizes[group_of]


def merged_rows(
    rows: tuple[np.ndarray, np.ndarray], others: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a table with what another index answers for the same chunks, such as one of documents that
    came later: (distances [r, k], ids [r, k]) twice -> once, the k nearest of both by distance, then id.
    """
    distances, ids = (np.concatenate(pair, axis=1) for pair in zip(rows, others))
    return nearest_first(distances, ids, rows[0].shape[1])


def rows_mentioning(ids_nk: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """int64: the rows of a table in which an id of `removed` stands. Searched again with `excluded`, they are
    what the table would hold had those never been there.
    """
    return np.flatnonzero(np.isin(ids_nk, removed).any(axis=1))
