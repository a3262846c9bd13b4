"""Texts -> keys by a frozen BERT, averaged over time (arXiv 2112.04426, Section 2.3).

Batches are small enough for the activations of a layer to stay in the cache, and sorted by length so that
little padding is computed and few lengths are compiled.
"""

import functools
from collections.abc import Callable

import jax
import numpy as np

from models.bert.model import Bert, mean_over_time

# On two CPU cores a batch of 64 costs a fifth more per chunk: a layer's activations leave the cache.
ROWS = 16
MAX_WORDPIECES = 128  # a chunk of 64 tokens has 58 on average; what exceeds this is cut off
LENGTH_STEP = 8


def embed_texts(texts: list[str], progress: Callable[[int], object], bert: Bert) -> np.ndarray:
    """float32 [len(texts), hidden_size]: the keys of any texts, such as a query typed by hand.

    progress(count) is called with the number of texts that each finished batch adds. A key does not depend on
    the texts it is embedded with, up to rounding.
    """
    wordpieces = bert.encode(texts, min(MAX_WORDPIECES, bert.config.max_position_embeddings))
    order = np.argsort([len(ids) for ids in wordpieces], kind="stable")
    keys_nd = np.empty([len(texts), bert.config.hidden_size], np.float32)
    # The result of a batch is awaited after the next one is under way.
    running: list[tuple[np.ndarray, jax.Array]] = []
    for start in range(0, len(texts), ROWS):
        rows = order[start : start + ROWS]
        running.append((rows, embed_batch(bert.apply, bert.params, *pad([wordpieces[row] for row in rows]))))
        if len(running) > 1:
            progress(collect(keys_nd, *running.pop(0)))
    for rows, result in running:
        progress(collect(keys_nd, rows, result))
    return keys_nd


@functools.partial(jax.jit, static_argnames="apply")
def embed_batch(apply: Callable, params, ids_nt: jax.Array, mask_nt: jax.Array) -> jax.Array:
    return mean_over_time(apply(params, ids_nt, mask_nt), mask_nt)


def pad(wordpieces: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """(ids int32, mask bool) [ROWS, t], t a multiple of LENGTH_STEP: few shapes, hence few compilations."""
    lengths = np.zeros(ROWS, np.int64)
    lengths[: len(wordpieces)] = [len(ids) for ids in wordpieces]
    t = -(-int(lengths.max()) // LENGTH_STEP) * LENGTH_STEP
    mask_nt = np.arange(t) < lengths[:, None]
    ids_nt = np.zeros([ROWS, t], np.int32)
    ids_nt[mask_nt] = np.concatenate(wordpieces)
    return ids_nt, mask_nt


def collect(keys_nd: np.ndarray, rows: np.ndarray, result: jax.Array) -> int:
    keys_nd[rows] = np.asarray(result)[: len(rows)]
    return len(rows)
