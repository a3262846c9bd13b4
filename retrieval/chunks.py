"""Chunks as text for the encoder, and as the [N, F] that RETRO reads (arXiv 2112.04426, Section 2.2)."""

import numpy as np

from data.token_store import CHUNK, TOKENS, Chunked, TokenStore
from data.tokenizers import Tokenizer
from storage.artifacts import fingerprint

NEIGHBOUR_LENGTH = 2 * CHUNK


def chunk_text(store: Chunked, tokenizer: Tokenizer, chunk: int) -> str:
    """The text of one chunk; special tokens and padding leave nothing."""
    return tokenizer.decode(store.chunk_tokens(np.int64(chunk)))


def neighbour_tokens(store: Chunked, chunks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[N, F]: each chunk and the 64 tokens that continue it in its own document.

    Args:
        chunks: int64 [...] global chunk ids; -1 is a missing neighbour.

    Returns:
        tokens int32 [..., 128] and mask bool [..., 128], False past the document's end and all over a
        missing one.
    """
    return store.window(chunks, NEIGHBOUR_LENGTH)


def chunk_groups(store: TokenStore, chunks: np.ndarray) -> np.ndarray:
    """int64 [...]: the duplicate group of each chunk's document; meaningless for id -1."""
    return store.groups[store.chunk_documents(chunks)]


def training_chunks(store: TokenStore) -> np.ndarray:
    """int64: the global ids of the chunks of training documents, rising: what neighbours are found among."""
    return np.flatnonzero(~np.repeat(store.is_validation, store.num_chunks))


def store_hash(store: TokenStore) -> str:
    """Names everything about a store that neighbours depend on: tokens, document bounds, groups and sides."""
    columns = [np.ascontiguousarray(c).tobytes() for c in (store.offsets, store.groups, store.is_validation)]
    return fingerprint([store.path / TOKENS, *columns])
