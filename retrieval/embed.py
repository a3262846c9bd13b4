"""Chunks -> keys: a frozen BERT over a chunk's text, averaged over time (arXiv 2112.04426, Section 2.3).

Embedding is most of a small run's preparation, so it is done in shards of which a killed run loses at most
one, in batches small enough for the activations of a layer to stay in the cache, and sorted by length so
that little padding is computed and few lengths are compiled.
"""

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from data.artifacts import artifact
from data.token_store import TokenStore
from data.tokenizers import Tokenizer
from models.bert.model import Bert, mean_over_time
from retrieval.chunks import chunk_text

SHARD = 4096
# On two CPU cores a batch of 64 costs a fifth more per chunk: a layer's activations leave the cache.
ROWS = 16
MAX_WORDPIECES = 128  # a chunk of 64 tokens has 58 on average; what exceeds this is cut off
LENGTH_STEP = 8


def embed_chunks(
    store: TokenStore,
    tokenizer: Tokenizer,
    bert: Bert,
    chunks: np.ndarray,
    progress: Callable[[int], object] = lambda count: None,
) -> np.ndarray:
    """The keys of `chunks` (int64 [n] global ids): float32 [n, hidden_size].

    progress(count) is called with the number of chunks that each finished batch adds. A key does not depend
    on the chunks it is embedded with, up to rounding.
    """
    return embed_texts([chunk_text(store, tokenizer, chunk) for chunk in chunks], bert, progress)


def embed_texts(
    texts: list[str], bert: Bert, progress: Callable[[int], object] = lambda count: None
) -> np.ndarray:
    """float32 [len(texts), hidden_size]: the keys of any texts, such as a query typed by hand."""
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


def embed_store(root: Path, store: TokenStore, tokenizer: Tokenizer, bert: Bert) -> np.ndarray:
    """The keys of every chunk of a store by global id: float32 [total_chunks, hidden_size].

    Shards are artifacts under `root`, named by their tokens: finished ones are reused after a kill, and by
    another store that begins with the same documents.
    """
    total = int(store.chunk_offsets[-1])
    shards = []
    seconds = 0.1 if sys.stderr.isatty() else 15
    with tqdm(total=total, desc="embedding chunks", unit="chunk", delay=2, mininterval=seconds) as bar:
        for first in range(0, total, SHARD):
            chunks = np.arange(first, min(first + SHARD, total))
            inputs = {
                "tokens": store.chunk_tokens(chunks).tobytes(),
                "tokenizer": tokenizer.hash,
                "bert": bert.hash,
                "max_wordpieces": MAX_WORDPIECES,
            }

            def build(folder: Path, chunks: np.ndarray = chunks) -> None:
                np.save(folder / "keys.npy", embed_chunks(store, tokenizer, bert, chunks, bar.update))

            shards.append(np.load(artifact(root, "keys", inputs, build) / "keys.npy", allow_pickle=False))
            bar.update(first + len(chunks) - bar.n)
    return np.concatenate(shards)
