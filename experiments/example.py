"""One worked example: a chunk of held-out text, what it retrieved, and what that did to the tokens that
follow.
"""

from typing import Any

import numpy as np

from data.token_store import CHUNK
from experiments.cells import Cell, CellResult, evaluation_neighbours, held_out
from experiments.prepare import Prepared
from retrieval.chunks import chunk_text
from retrieval.live import source


def worked_example(prepared: Prepared, cell: Cell, result: CellResult) -> dict[str, Any] | None:
    """The held-out chunk that gained most from its neighbours; None where no chunk has both a predecessor and
    neighbours.

    Neighbours retrieved for chunk u act on the tokens predicted from the last token of u to the last but one
    of u + 1: those of chunk u + 1.
    """
    store, table, tokenizer = prepared.store, prepared.neighbours, prepared.tokenizer
    k = evaluation_neighbours(cell.config)
    batches = [batch for batch, _ in held_out(cell, table)]
    chunks_su = np.concatenate([batch.chunks for batch in batches])
    targets_st = np.concatenate([batch.targets for batch in batches])
    weights_st = np.concatenate([batch.weights for batch in batches])
    neighbours_suk = np.concatenate([table.neighbours(batch.chunks, k) for batch in batches])

    # Position 64(u + 1) − 1 predicts the first token of chunk u + 1.
    read = slice(CHUNK - 1, chunks_su.shape[1] * CHUNK - 1)
    saved_st = (result.nats["off"] - result.nats["on"])[:, read]
    saved_su = saved_st.reshape(len(saved_st), -1, CHUNK).sum(-1)
    saved_su = np.where(neighbours_suk[:, :-1, 0] >= 0, saved_su, -np.inf)
    if not np.isfinite(saved_su).any():
        return None
    s, u = np.unravel_index(np.argmax(saved_su), saved_su.shape)
    chunk = chunks_su[s, u]
    document = int(store.chunk_documents(chunk))
    positions = np.arange(CHUNK * (u + 1) - 1, CHUNK * (u + 2) - 1)
    positions = positions[weights_st[s, positions] > 0]
    return {
        "initialisation": cell.config.cca_initialisation,
        "selection": "the held-out chunk that gained most from its neighbours",
        "source": store.sources[document],
        "domain": store.domains[document],
        "chunk": int(chunk - store.chunk_offsets[document]),
        "retrieving_text": chunk_text(store, tokenizer, chunk),
        "continuation_text": tokenizer.decode(targets_st[s, positions]),
        "neighbours": [
            _neighbour(prepared, chunk, neighbour) for neighbour in neighbours_suk[s, u] if neighbour >= 0
        ],
        "tokens": [
            {
                "text": tokenizer.decode(targets_st[s, t : t + 1]),
                "nats_off": float(result.nats["off"][s, t]),
                "nats_on": float(result.nats["on"][s, t]),
            }
            for t in positions
        ],
    }


def _neighbour(prepared: Prepared, chunk: int, neighbour: int) -> dict[str, Any]:
    table = prepared.neighbours
    distance = table.distances[chunk][table.ids[chunk] == neighbour][0]
    return source(prepared.store, prepared.tokenizer, neighbour, distance)
