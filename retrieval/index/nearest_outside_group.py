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
from retrieval.index.keys import Keys

# How many of the query's own group the first search allows for; where that is too few, it searches again.
OWN_GROUP_ALLOWANCE = 40
# How many beyond k are ordered by their keys where an index holds codes: benchmarks/million.py has the curve.
CANDIDATES_BEYOND_K = 54
QUERY_ROWS, SEARCH_ENTRIES = 2**14, 2**22
# Fewer queries than this for each list are not worth decoding the lists for.
QUERIES_PER_LIST = 4

# find(rows, width) -> (distances, ids) [r, width]: the nearest chunks of these chunks, own group included.
Find = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def nearest_outside_group(
    index: faiss.Index, keys: Keys, groups: np.ndarray, k: int, rows: np.ndarray | None = None,
    excluded: np.ndarray | None = None, candidates: int = CANDIDATES_BEYOND_K,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The k nearest entries of `index` of another group, for every chunk or for the chunks `rows`.

    Args:
        keys: of all chunks; `index` holds some.
        groups: int64 [n] by chunk id.
        rows: int64 [r] chunk ids. excluded: int64 ids of chunks that are not there any more.
        candidates: how many beyond k are ordered by their keys, where the index holds codes.

    Returns:
        (distances float32 [r, k], ids int64 [r, k]) sorted by distance, then id. inf and -1 stand only
        where the index holds no more chunks of other groups.
    """
    rows = np.arange(len(keys)) if rows is None else np.asarray(rows, np.int64)
    nearest = _Nearest(index, keys, groups, rows, k, k if holds_keys(index) else k + candidates, excluded)
    nearest.search(np.arange(len(rows)), np.full(len(rows), OWN_GROUP_ALLOWANCE))
    nearest.search_wider()
    return nearest.distances, nearest.ids


def nearest_by_keys(
    index: faiss.Index, keys: Keys, queries_qd: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """What `nearest_outside_group` finds, for keys that are of no chunk and hence of no group.

    Candidates beyond k are ordered by their keys whatever the index holds: its own distances are rounded, and
    of equal ones it may take any for the last place.
    """
    width = k + CANDIDATES_BEYOND_K
    ids = search_lists(index, queries_qd, width)[1]
    short = np.flatnonzero(ids[:, k - 1] < 0)
    if len(short) and inverted_file(index) is not None:
        with every_list_searched(index):
            ids[short] = search_lists(index, queries_qd[short], width)[1]
    return reranked(keys, queries_qd, ids, k)


class _Nearest:
    """The rows of `nearest_outside_group` while they are searched for. kept: how many candidates of another
    group each row wants; others: how many its last search had.
    """

    def __init__(
        self, index: faiss.Index, keys: Keys, groups: np.ndarray, rows: np.ndarray, k: int, kept: int,
        excluded: np.ndarray | None,
    ):  # fmt: skip
        self.index, self.keys, self.groups, self.rows = index, keys, groups, rows
        self.k, self.kept, self.excluded = k, kept, excluded
        self.distances = np.full([len(rows), k], np.inf, np.float32)
        self.ids = np.full([len(rows), k], -1, np.int64)
        self.others = np.zeros(len(rows), np.int64)

    def search(self, at: np.ndarray, allowance: np.ndarray) -> None:
        """Searches so far that `allowance` hits of a row's own group may be thrown away. at: int64, places
        in `rows`.
        """
        at, allowance = (array[np.argsort(-allowance, kind="stable")] for array in (at, allowance))
        start = 0
        while start < len(at):
            width = self.kept + int(allowance[start])
            batch = at[start : start + max(1, min(QUERY_ROWS, SEARCH_ENTRIES // width))]
            self.distances[batch], self.ids[batch], self.others[batch] = outside_group(
                self._find, self.keys, self.groups, self.rows[batch], width, self.k, self.kept
            )
            start += len(batch)

    def search_wider(self) -> None:
        """Searches again for rows whose own group took the places of others, then in every list for those
        that have fewer than k.
        """
        short = np.flatnonzero(self.others < self.kept)
        if not len(short):
            return
        own_size = group_sizes(self.groups)[self.rows]
        # An index of codes has to be asked again even for rows that have k; own groups can be large, hence
        # in steps.
        before, largest = OWN_GROUP_ALLOWANCE, own_size.max()
        for allowance in (largest,) if self.kept == self.k else (4 * before, 16 * before, largest):
            short = short[(self.others[short] < self.kept) & (own_size[short] > before)]
            self.search(short, np.minimum(own_size[short], allowance))
            before = allowance
        short = np.flatnonzero(self.ids[:, -1] < 0)
        if len(short) and inverted_file(self.index) is not None:
            with every_list_searched(self.index):
                self.search(short, own_size[short])

    def _find(self, chunks: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        return batched_search(self.index, rows_of(self.keys, chunks), width, self.excluded)


def outside_group(
    find: Find, keys: Keys, groups: np.ndarray, rows: np.ndarray, width: int, k: int, kept: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each row's `width` nearest, the first `kept` of another group; of these the k nearest by their keys.

    Returns:
        (distances [r, k], ids [r, k], how many of another group there were [r]). The distances are between
        keys: FAISS's are rounded differently with the batch, and an index may hold codes for keys.
    """
    ids = find(rows, width)[1]
    ids = np.where(groups[ids] == groups[rows, None], -1, ids)
    others = (ids >= 0).sum(axis=1)
    first = np.argsort(ids < 0, axis=1, kind="stable")[:, :kept]
    return *reranked(keys, rows_of(keys, rows), np.take_along_axis(ids, first, axis=1), k), others


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
