"""The nearest chunks of many chunks, outside of their own group: found by the index, ordered by the keys.

An index that holds codes finds candidates; their order is by distances between the keys themselves. Shape
suffixes: n chunks, r rows asked for, d dimension of a key, k results.
"""

from collections.abc import Callable
from contextlib import redirect_stdout

import faiss
import numpy as np
from faiss.contrib.big_batch_search import big_batch_search

from retrieval.index import (
    every_list_searched,
    holds_keys,
    inverted_file,
    nearest_first,
    reranked,
    rows_of,
    search_lists,
)
from retrieval.inverted_lists import can_be_merged, transformed

# How many of the query's own group the first search allows for; where that is too few, it searches again.
OWN_GROUP_ALLOWANCE = 40
QUERY_ROWS, SEARCH_ENTRIES = 2**16, 2**22
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
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest entries of `index` of another group, for every chunk or for the chunks `rows`.

    Args:
        keys: float32 [n, d] by chunk id, of which `index` holds some.
        groups: int64 [n] by chunk id.
        rows: int64 [r] chunk ids. excluded: int64 ids of chunks that are not there any more.

    Returns:
        (distances float32 [r, k], ids int64 [r, k]) sorted by distance, then id. inf and -1 stand only
        where the database holds no more chunks of other groups.
    """
    rows = np.arange(len(keys)) if rows is None else np.asarray(rows, np.int64)
    distances = np.full([len(rows), k], np.inf, np.float32)
    ids = np.full([len(rows), k], -1, np.int64)
    rerank = not holds_keys(index)

    def find(chunks: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        return batched_search(index, rows_of(keys, chunks), width, excluded)

    def fill(at: np.ndarray, allowance: np.ndarray) -> None:
        """Searches so far that `allowance` (descending) hits of a row's own group may be thrown away."""
        start = 0
        while start < len(at):
            width = k + int(allowance[start])
            batch = at[start : start + max(1, min(QUERY_ROWS, SEARCH_ENTRIES // width))]
            distances[batch], ids[batch] = outside_group(find, keys, groups, rows[batch], width, k, rerank)
            start += len(batch)

    fill(np.arange(len(rows)), np.full(len(rows), OWN_GROUP_ALLOWANCE))
    short = np.flatnonzero(ids[:, -1] < 0)
    if len(short):
        own_size = group_sizes(groups)[rows[short]]
        order = np.argsort(-own_size, kind="stable")
        with every_list_searched(index):
            fill(short[order], own_size[order])
    return distances, ids


def outside_group(
    find: Find, keys, groups: np.ndarray, rows: np.ndarray, width: int, k: int, rerank: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The first k of each row's `width` nearest that are of another group: (distances, ids) [r, k].

    rerank: first by the keys, of all `width`; otherwise in the order in which `find` gives them. The
    distances returned are between keys in either case: FAISS's are rounded differently with the batch.
    """
    found = find(rows, width)[1]
    found = np.where(groups[found] == groups[rows, None], -1, found)
    if not rerank:
        first = np.argsort(found < 0, axis=1, kind="stable")[:, :k]
        found = np.take_along_axis(found, first, axis=1)
    return reranked(keys, rows_of(keys, rows), found, k)


def batched_search(
    index: faiss.Index, queries_qd: np.ndarray, k: int, excluded: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`retrieval.index.search_lists`, which for many queries at once loads each inverted list once."""
    ivf = inverted_file(index)
    many = ivf is not None and len(queries_qd) * ivf.nprobe >= QUERIES_PER_LIST * ivf.nlist
    if not many or not can_be_merged(index) or (excluded is not None and len(excluded)):
        return search_lists(index, queries_qd, k, excluded)
    with redirect_stdout(None):  # no value of its `verbose` is silent
        distances, ids = big_batch_search(ivf, transformed(index, queries_qd), k)
    missing = distances >= np.finfo(np.float32).max
    return np.where(missing, np.float32(np.inf), distances), np.where(missing, -1, ids)


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
