"""How much of a held-out chunk was seen in training, and bits per byte over the chunks of which little was.

RETRO (arXiv 2112.04426, Section 2.6): s is the longest run of tokens that a chunk C shares with one of its 10
nearest training neighbours, r(C) = s/64, and bpb(α) is the loss in bits over bytes of the chunks with
r(C) ≤ α, so that bpb(1) is the ordinary figure. The other half of the protocol, that no training document is
a near duplicate of a held-out one, is data.duplicates' split.

Where the paper leaves a choice, the one that finds more leakage is taken: a neighbour counts with its
continuation, 128 tokens, as RETRO reads it. A short last chunk is divided by 64 all the same, so that
α = 12.5 % means "no run of more than 8 tokens" everywhere.

Shapes: n evaluated chunks, D documents of the store, S sequences of T tokens = U chunks.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data.token_store import CHUNK, TokenStore
from data.tokenizers import Tokenizer
from retrieval.chunks import neighbour_tokens
from retrieval.neighbours.overlap import longest_runs, text_tokens
from retrieval.neighbours.table import NeighbourTable

NEIGHBOURS = 10
ALPHAS = tuple(eighths / 8 for eighths in range(1, 9))
CHUNKS_AT_ONCE = 1024


@dataclass(frozen=True)
class HeldOutChunks:
    """The evaluated chunks, in the order of their ids.

    ids: int64 [n]. documents: int64 [n]. num_bytes: float64 [n]; a document's sum is its UTF-8 bytes. runs:
    int64 [n], s from 0 to 64. neighbours: how many a chunk was compared with, 10 unless the table keeps
    fewer.
    """

    ids: np.ndarray
    documents: np.ndarray
    num_bytes: np.ndarray
    runs: np.ndarray
    neighbours: int

    def at_most(self, alpha: float) -> np.ndarray:
        """bool [n]: r(C) ≤ alpha."""
        return self.runs <= alpha * CHUNK


def held_out_chunks(table: NeighbourTable, tokenizer: Tokenizer, chunks_su: np.ndarray) -> HeldOutChunks:
    """What evaluation needs to know of the chunks in `chunks_su` int64 [S, U], -1 = padding."""
    ids = np.unique(chunks_su[chunks_su >= 0])
    neighbours = min(NEIGHBOURS, table.ids.shape[1])
    runs = [max(row, default=0) for row in shared_with_neighbours(table, ids, neighbours)]
    return HeldOutChunks(
        ids, table.store.chunk_documents(ids), _num_bytes(table.store, tokenizer, ids),
        np.array(runs, np.int64), neighbours,
    )  # fmt: skip


def shared_with_neighbours(table: NeighbourTable, ids: np.ndarray, k: int) -> Iterator[list[int]]:
    """For each of the chunks `ids` [n] in turn, the longest run that it shares with each of its k nearest."""
    store = table.store
    for start in range(0, len(ids), CHUNKS_AT_ONCE):
        some = ids[start : start + CHUNKS_AT_ONCE]
        tokens, _ = neighbour_tokens(store, table.neighbours(some, k, exclude_sequence=False))
        yield from map(longest_runs, text_tokens(store, store.chunk_tokens(some)), text_tokens(store, tokens))


def chunk_nats(
    chunks: HeldOutChunks, store: TokenStore, nats_st: np.ndarray, chunks_su: np.ndarray
) -> np.ndarray:
    """float64 [n]: a model's loss per chunk. A token's loss belongs to the chunk that it stands in, which for
    the last position of a chunk is the next one; an eos that stands alone in its chunk, to the chunk before.

    Args:
      nats_st: [S, T] losses by the position that predicts, zero where nothing is predicted.
    """
    following_su = chunks_su + 1
    goes_on = np.isin(following_su, chunks.ids)
    goes_on &= store.chunk_documents(following_su) == store.chunk_documents(chunks_su)
    owner_sum = np.repeat(chunks_su[..., None], CHUNK, axis=-1)
    owner_sum[..., -1] = np.where(goes_on, following_su, chunks_su)
    owner_st = owner_sum.reshape(nats_st.shape)
    inside = owner_st >= 0
    rows = np.searchsorted(chunks.ids, owner_st[inside])
    return np.bincount(rows, nats_st[inside].astype(np.float64), minlength=len(chunks.ids))


def per_document(
    chunks: HeldOutChunks, values_n: np.ndarray, kept_n: np.ndarray, documents: np.ndarray
) -> np.ndarray:
    """float64 [len(documents)]: for each of `documents` (sorted) the sum of `values_n` over its chunks that
    are in `kept_n` (bool).
    """
    rows = np.searchsorted(documents, chunks.documents[kept_n])
    return np.bincount(rows, values_n[kept_n], minlength=len(documents))


def _num_bytes(store: TokenStore, tokenizer: Tokenizer, ids: np.ndarray) -> np.ndarray:
    """float64 [n]: a document's UTF-8 bytes, shared out over its chunks by the bytes of their tokens.

    That is exact where the tokenizer is lossless. Gopher's encodes the NFKC form, whose bytes may differ from
    the text's: each of its bytes then counts as a constant share of the document's.
    """
    of_document = store.chunk_documents(ids)
    own = tokenizer.num_bytes[store.chunk_tokens(ids)].sum(axis=-1)
    # Where nothing is left of a text, its chunks share its bytes evenly.
    empty = np.bincount(of_document, own)[of_document] == 0
    own = np.where(empty, 1, own)
    return store.num_bytes[of_document] * own / np.bincount(of_document, own)[of_document]
