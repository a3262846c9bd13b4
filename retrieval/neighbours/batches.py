"""A training batch as a model takes it: tokens with the neighbours of their chunks."""

from typing import Any

from data.batches import Batch
from models.decoder import Neighbours
from retrieval.neighbours.table import NeighbourTable


def device_batch(batch: Batch, table: NeighbourTable, k: int) -> dict[str, Any]:
    """A batch as the model takes it, with the k neighbours of each of its chunks; none where k is 0."""
    neighbours = Neighbours(*table.lookup(batch.chunks, k)) if k else None
    return {
        "tokens": batch.tokens,
        "targets": batch.targets,
        "weights": batch.weights,
        "neighbours": neighbours,
    }
