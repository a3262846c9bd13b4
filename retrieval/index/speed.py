"""How long a search takes: by the index with re-ranking, and by brute force over the same keys.

Both do the same for a query: the k nearest by the keys themselves. Times are the median over repeats of the
time of all queries, divided by their number.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import faiss
import numpy as np

from retrieval.index.index import exact_search, inverted_file, probing, reranked, rows_of, search_lists
from retrieval.index.keys import Keys
from retrieval.index.nearest_outside_group import CANDIDATES_BEYOND_K, batched_search
from retrieval.index.recall import K, Truth, recall_curve

Clock = Callable[[], float]  # time.process_time counts what this process computed, whatever else ran


def index_ms(
    index: faiss.Index, keys: Keys, queries_qd: np.ndarray, batched: bool, repeats: int = 3,
    clock: Clock = time.perf_counter,
) -> float:  # fmt: skip
    """Milliseconds per query, candidates and re-ranking. batched: all queries at once, as for a table;
    otherwise one by one, as while generating.
    """
    find = batched_search if batched else search_lists

    def answer(queries_qd: np.ndarray) -> None:
        reranked(keys, queries_qd, find(index, queries_qd, K + CANDIDATES_BEYOND_K)[1], K)

    return _ms(answer, queries_qd, batched, repeats, clock)


def exact_ms(
    keys: Keys, ids: np.ndarray, queries_qd: np.ndarray, batched: bool, repeats: int = 3,
    clock: Clock = time.perf_counter,
) -> float:  # fmt: skip
    """Milliseconds per query of `retrieval.index.index.exact_search`."""
    return _ms(lambda queries_qd: exact_search(keys, ids, queries_qd, K), queries_qd, batched, repeats, clock)


def _ms(answer: Callable, queries_qd: np.ndarray, batched: bool, repeats: int, clock: Clock) -> float:
    parts = [queries_qd] if batched else np.split(queries_qd, len(queries_qd))
    answer(parts[0][:100])
    seconds = []
    for _ in range(repeats):
        start = clock()
        for part in parts:
            answer(part)
        seconds.append(clock() - start)
    return 1000 * statistics.median(seconds) / len(queries_qd)


def timed_curve(
    index: faiss.Index, keys: Keys, groups: np.ndarray, truth: Truth, nprobes: Sequence[int],
    clock: Clock = time.perf_counter, batch: np.ndarray | None = None,
) -> list[dict[str, float]]:  # fmt: skip
    """Recall and milliseconds per query for each nprobe: {nprobe, plain, reranked, batched_ms, single_ms}.

    batch: int64 chunks to search for at once, if not those of `truth`.
    """
    queries_qd = rows_of(keys, truth.rows)
    batch_qd = queries_qd if batch is None else rows_of(keys, batch)
    points = []
    for nprobe, plain, rerank in recall_curve(index, keys, groups, truth, nprobes):
        with probing(index, nprobe if inverted_file(index) is not None else None):
            milliseconds = {
                "batched_ms": index_ms(index, keys, batch_qd, batched=True, clock=clock),
                "single_ms": index_ms(index, keys, queries_qd[:100], batched=False, clock=clock),
            }
        points.append({"nprobe": nprobe, "plain": plain, "reranked": rerank, **milliseconds})
    return points
