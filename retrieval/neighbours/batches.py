"""A batch as a model takes it: tokens with the neighbours of their chunks.

Chunk u's neighbours are read by the tokens of chunk u + 1 (RETRO section 2.4). Where that one opens another
document of a training row, they are what no reader of the document would be given, and evaluation, which
reads documents by themselves, has no such case. So they are masked, unless asked for.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from data.batches import Batch, TrainBatches
from data.token_store import CHUNK
from models.decoder import Neighbours
from retrieval.chunks import neighbour_tokens
from retrieval.neighbours.table import NeighbourTable


@dataclass(frozen=True)
class Batches:
    """`batches(step)` is the training batch of that step, with k neighbours of each chunk from `table`."""

    train: TrainBatches
    table: NeighbourTable
    k: int
    across_documents: bool = False

    def __call__(self, step: int) -> dict[str, Any]:
        return with_neighbours(self.train(step), self.table, self.k, self.across_documents)


def with_neighbours(
    batch: Batch, table: NeighbourTable, k: int, across_documents: bool = False
) -> dict[str, Any]:
    """tokens, targets and weights [B, T]; neighbours: tokens and mask [B, T/64, k, 128], None for k = 0.

    across_documents: whether the last chunk of a document hands its neighbours to the document after it.
    """
    neighbours = None
    if k:
        ids_buk = table.neighbours(batch.chunks, k)
        if not across_documents:
            ids_buk = np.where(_before_another(batch.chunks, table)[..., None], -1, ids_buk)
        neighbours = Neighbours(*neighbour_tokens(table.store, ids_buk))
    return {
        "tokens": batch.tokens,
        "targets": batch.targets,
        "weights": batch.weights,
        "neighbours": neighbours,
    }


def beside_neighbours(batch: Batch, table: NeighbourTable, k: int) -> np.ndarray:
    """bool [B, T]: the predicted tokens at which a model reads neighbours, those of the chunk before: from
    that one's last token on, as far as the sequence goes.
    """
    has_some_bu = (table.neighbours(batch.chunks, k) >= 0).any(axis=-1)
    read_bt = np.pad(np.repeat(has_some_bu, CHUNK, axis=1), ((0, 0), (CHUNK - 1, 0)))
    return read_bt[:, : batch.weights.shape[1]] & (batch.weights > 0)


def _before_another(chunks: np.ndarray, table: NeighbourTable) -> np.ndarray:
    """bool [B, U]: the chunks that another document follows in the row; padding is none."""
    documents = table.store.chunk_documents(chunks)
    following = documents[:, 1:]
    ends = (following != documents[:, :-1]) & (following >= 0)
    return np.pad(ends, ((0, 0), (0, 1)))
