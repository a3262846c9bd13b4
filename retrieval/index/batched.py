"""Many queries at once: each inverted list is read once for all of them (`faiss.contrib.big_batch_search`).

FAISS's own collector keeps the k nearest of every list for every query and merges them, which costs several
times the distances themselves. Here an ordinary search of a few lists first bounds each query's k-th
distance, and what is farther is dropped as soon as it is computed. A list is too little for several threads,
which spin while they wait for each other: 4,096 queries in 8 of 512 lists of 28,000 keys of 384 take 0.8 s
of the processor on one thread, and 2.5 to 6.9 s on the two of a busy machine. Shape suffixes: q queries, d
dimension of a key, k results, n keys of a list.
"""

import faiss
import numpy as np
from faiss.contrib.big_batch_search import BigBatchSearcher, BlockComputer

from retrieval.index.index import one_thread

FIRST_LISTS = 4  # that bound the k-th distance
ROUNDING = 1e-3  # of distances to codes, which are computed in two ways
PAIRS = 2**22  # distances held at once


class Searcher(BigBatchSearcher):
    """Keeps, of all distances, those within each query's bound."""

    def __init__(self, ivf: faiss.IndexIVF, queries_qd: np.ndarray, bounds_q: np.ndarray):
        super().__init__(ivf, queries_qd, 1)
        self.computer = BlockComputer(ivf, method="pairwise_distances")  # owns what decode_func reads
        self.decode_func, self.by_residual = self.computer.decode_func, self.computer.by_residual
        self.bounds_q, self.kept = bounds_q, []

    def search_list(self, number: int) -> None:
        """Keeps what is near enough in one list, for all queries that search it."""
        queries, residuals_qd, ids, keys_nd = self.prepare_bucket(number)
        if not len(queries) or not len(ids):
            return
        step = max(1, PAIRS // len(ids))
        for start in range(0, len(queries), step):
            rows = queries[start : start + step]
            distances_qn = faiss.pairwise_distances(residuals_qd[start : start + step], keys_nd)
            near, which = np.nonzero(distances_qn <= self.bounds_q[rows, None])
            self.kept.append((rows[near], distances_qn[near, which], ids[which]))


def search_by_list(ivf: faiss.IndexIVF, queries_qd: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """What `ivf.search` returns, up to rounding: (distances float32 [q, k], ids int64 [q, k]), nearest first,
    inf and -1 where its nprobe lists hold fewer than k.

    `ivf`: one of flat, product-quantised or scalar-quantised lists. In memory are the queries, their lists
    and a few times k candidates of each.
    """
    few = faiss.SearchParametersIVF(nprobe=min(FIRST_LISTS, ivf.nprobe))
    first, _ = ivf.search(queries_qd, k, params=few)
    # Fewer than k in those lists: FAISS says that the rest is as far as float32 goes, and nothing is dropped.
    with np.errstate(over="ignore"):
        bounds_q = first[:, -1] * (1 + ROUNDING) + np.float32(ROUNDING)
    searcher = Searcher(ivf, queries_qd, bounds_q)
    searcher.coarse_quantization()
    searcher.reorder_assign()
    with one_thread():
        for number in range(ivf.nlist):
            searcher.search_list(number)
    if not searcher.kept:
        return np.full([len(queries_qd), k], np.inf, np.float32), np.full([len(queries_qd), k], -1)
    queries, distances, ids = map(np.concatenate, zip(*searcher.kept))
    return nearest_of_each(queries, distances, ids, len(queries_qd), k)


def nearest_of_each(
    queries: np.ndarray, distances: np.ndarray, ids: np.ndarray, q: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """(query, distance, id) triples -> (distances [q, k], ids [q, k]), nearest first; else inf and -1."""
    order = np.lexsort((distances, queries))
    queries, distances, ids = queries[order], distances[order], ids[order]
    place = np.arange(len(queries)) - np.searchsorted(queries, queries)
    within = place < k
    distances_qk = np.full([q, k], np.inf, np.float32)
    ids_qk = np.full([q, k], -1, np.int64)
    distances_qk[queries[within], place[within]] = distances[within]
    ids_qk[queries[within], place[within]] = ids[within]
    return distances_qk, ids_qk
