"""The keys of a token store, in shards: artifacts of which a killed run loses at most the one under way."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.artifacts import artifact
from data.token_store import TokenStore
from data.tokenizers import Tokenizer
from retrieval.chunks import chunk_text
from retrieval.keys import KeyEncoder, Keys, no_progress

SHARD = 4096  # chunks
FILE_NAME = "keys.npy"


def embed_chunks(
    store: TokenStore,
    tokenizer: Tokenizer,
    encoder: KeyEncoder,
    chunks: np.ndarray,
    progress: Callable[[int], object] = no_progress,
) -> np.ndarray:
    """The keys of `chunks` (int64 [n] global ids): float32 [n, d]."""
    return encoder.encode([chunk_text(store, tokenizer, chunk) for chunk in chunks], progress)


def embed_store(root: Path, store: TokenStore, tokenizer: Tokenizer, encoder: KeyEncoder) -> Keys:
    """The keys of every chunk of a store by global id: [total_chunks, d], on disk.

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
                **encoder.made_of,
            }

            def build(folder: Path, chunks: np.ndarray = chunks) -> None:
                np.save(folder / FILE_NAME, embed_chunks(store, tokenizer, encoder, chunks, bar.update))

            shards.append(artifact(root, "keys", inputs, build) / FILE_NAME)
            bar.update(first + len(chunks) - bar.n)
    return Keys(shards, encoder.dimension)
