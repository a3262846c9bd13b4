"""A batch as a model takes it: tokens with the neighbours of their chunks."""

from dataclasses import dataclass
from typing import Any

from data.batches import Batch, TrainBatches
from models.decoder import Neighbours
from retrieval.neighbours.table import NeighbourTable


@dataclass(frozen=True)
class Batches:
    """`batches(step)` is the training batch of that step, with k neighbours of each chunk from `table`."""

    train: TrainBatches
    table: NeighbourTable
    k: int

    def __call__(self, step: int) -> dict[str, Any]:
        return with_neighbours(self.train(step), self.table, self.k)


def with_neighbours(batch: Batch, table: NeighbourTable, k: int) -> dict[str, Any]:
    """tokens, targets and weights [B, T]; neighbours: tokens and mask [B, T/64, k, 128], None for k = 0."""
    neighbours = Neighbours(*table.lookup(batch.chunks, k)) if k else None
    return {
        "tokens": batch.tokens,
        "targets": batch.targets,
        "weights": batch.weights,
        "neighbours": neighbours,
    }
