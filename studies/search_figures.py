"""Recall, speed and cost of a retrieval database, measured."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from retrieval.chunks import chunk_text
from retrieval.database.costs import folder_bytes
from retrieval.database.database import Database
from retrieval.index.index import inverted_file, rows_of
from retrieval.index.nearest_outside_group import nearest_outside_group
from retrieval.index.recall import doublings, exact_truth, recall_at
from retrieval.index.speed import exact_ms, index_ms, timed_curve

TIMED_CHUNKS = 512  # that keys are made for and rows searched for, to time it
SINGLE_QUERIES = 20


def search_figures(database: Database) -> dict[str, Any]:
    """Recall and times of the index that was built, beside exact search over the same keys."""
    index, keys, groups = database.indexes[0], database.keys, database.groups
    first, end = database.documents.first_chunks[:2]
    ids = np.arange(first, end)
    truth = exact_truth(keys, ids, groups)
    queries_qd = rows_of(keys, truth.rows)
    single_qd = queries_qd[:SINGLE_QUERIES]
    ivf = inverted_file(index)
    return {
        "index": describe(index),
        "chunks": int(end - first),
        "queries": len(truth.rows),
        "nprobe": None if ivf is None else ivf.nprobe,
        "recall": {
            "plain": recall_at(index, keys, groups, truth, candidates=0),
            "reranked": recall_at(index, keys, groups, truth),
        },
        "ms": {
            "batched": index_ms(index, keys, queries_qd, batched=True),
            "single": index_ms(index, keys, single_qd, batched=False),
        },
        "exact_ms": {
            "batched": exact_ms(keys, ids, queries_qd, batched=True),
            "single": exact_ms(keys, ids, single_qd, batched=False, repeats=1),
        },
        "curve": timed_curve(index, keys, groups, truth, doublings(ivf.nlist)) if ivf is not None else [],
    }


def describe(index: Any) -> str:
    """The kind of index, in words."""
    ivf = inverted_file(index)
    if ivf is None:
        return "exact: every key is compared"
    return f"{type(ivf).__name__} of {ivf.nlist:,} lists and {ivf.code_size} bytes for each key"


def cost_figures(database: Database) -> dict[str, Any]:
    """Bytes of each part of the newest version, and seconds per chunk of the stages that can be timed now."""
    version, documents = database.version, database.documents
    chunks = int(documents.chunk_offsets[-1])
    bytes_of = {
        "tokens": folder_bytes(database.artifact(segment.store) for segment in version.segments),
        "keys": folder_bytes(
            database.artifact(name) for segment in version.segments for name in segment.keys
        ),
        "index": folder_bytes(database.artifact(segment.index) for segment in version.segments),
        "neighbour table": folder_bytes([database.artifact(version.table)]),
    }
    rows = np.random.default_rng(0).permutation(chunks)[:TIMED_CHUNKS]
    texts = [chunk_text(documents, database.tokenizer, chunk) for chunk in rows]
    k = version.recipe.k + version.recipe.spare

    def search() -> None:
        for index in database.indexes:
            nearest_outside_group(index, database.keys, database.groups, k, rows)

    work = {
        "tokenize": lambda: [database.tokenizer.encode(text) for text in texts],
        "make keys": lambda: database.encoder.encode(texts),
        "neighbour table": search,
    }
    return {
        "all chunks": chunks,
        "bytes": bytes_of,
        "seconds per chunk": {name: seconds(timed) / len(rows) for name, timed in work.items()},
    }


def seconds(work: Callable[[], Any]) -> float:
    """Of the second time, when everything is compiled and read."""
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
