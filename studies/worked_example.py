"""One worked example: a chunk of held-out text, what it retrieved, and what that did to the tokens that
follow; and the whole text around it beside its sources.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.token_store import CHUNK
from retrieval.chunks import chunk_text, neighbour_tokens
from retrieval.database.live import Retrieved, source
from storage.artifacts import artifact, fingerprint
from studies.prepare import Prepared
from studies.sources import MINIMUM_RUN, explained
from studies.trials.held_out import held_out
from studies.trials.trained import load_run
from studies.trials.trial import Trial, TrialResult
from training.precision import cast_for_compute

FILE_NAME = "sources.json"


@dataclass(frozen=True)
class Helped:
    """The sequence that holds the held-out chunk that gained most from its neighbours, as it was evaluated.

    u: the chunk that retrieved them. chunks_u: global ids, -1 for padding. neighbours_uk: global ids, -1
    where one is missing. nats: by retrieval, of every target [T].
    """

    u: int
    chunks_u: np.ndarray
    tokens_t: np.ndarray
    targets_t: np.ndarray
    weights_t: np.ndarray
    neighbours_uk: np.ndarray
    nats: dict[str, np.ndarray]


def helped_most(prepared: Prepared, trial: Trial, result: TrialResult) -> Helped | None:
    """Where retrieval saved most; None where no chunk has both a predecessor and neighbours.

    Neighbours retrieved for chunk u act on the tokens predicted from the last token of u to the last but one
    of u + 1: those of chunk u + 1.
    """
    table, k = prepared.neighbours, trial.config.k_evaluation
    batches = [batch for batch, _ in held_out(trial, table)]
    neighbours_suk = np.concatenate([table.neighbours(batch.chunks, k) for batch in batches])
    chunks_su, tokens_st, targets_st, weights_st = (
        np.concatenate([getattr(batch, name) for batch in batches])
        for name in ("chunks", "tokens", "targets", "weights")
    )
    # Position 64(u + 1) − 1 predicts the first token of chunk u + 1.
    read = slice(CHUNK - 1, chunks_su.shape[1] * CHUNK - 1)
    saved_st = (result.nats["off"] - result.nats["on"])[:, read]
    saved_su = saved_st.reshape(len(saved_st), -1, CHUNK).sum(-1)
    saved_su = np.where(neighbours_suk[:, :-1, 0] >= 0, saved_su, -np.inf)
    if not np.isfinite(saved_su).any():
        return None
    s, u = np.unravel_index(np.argmax(saved_su), saved_su.shape)
    nats = {retrieval: result.nats[retrieval][s] for retrieval in ("off", "on")}
    return Helped(int(u), chunks_su[s], tokens_st[s], targets_st[s], weights_st[s], neighbours_suk[s], nats)


def worked_example(prepared: Prepared, trial: Trial, helped: Helped) -> dict[str, Any]:
    """The held-out chunk that gained most from its neighbours."""
    store, tokenizer, u = prepared.store, prepared.tokenizer, helped.u
    chunk = helped.chunks_u[u]
    document = int(store.chunk_documents(chunk))
    positions = np.arange(CHUNK * (u + 1) - 1, CHUNK * (u + 2) - 1)
    positions = positions[helped.weights_t[positions] > 0]
    retrieved = _retrieved(prepared, chunk, helped.neighbours_uk[u])
    return {
        "initialisation": trial.config.cca_initialisation,
        "selection": "the held-out chunk that gained most from its neighbours",
        "source": store.sources[document],
        "domain": store.domains[document],
        "chunk": int(chunk - store.chunk_offsets[document]),
        "retrieving_text": chunk_text(store, tokenizer, chunk),
        "continuation_text": tokenizer.decode(helped.targets_t[positions]),
        "neighbours": [
            source(store, tokenizer, neighbour, distance)
            for neighbour, distance in zip(retrieved.ids, retrieved.distances)
            if neighbour >= 0
        ],
        "tokens": [
            {
                "text": tokenizer.decode(helped.targets_t[t : t + 1]),
                "nats_off": float(helped.nats["off"][t]),
                "nats_on": float(helped.nats["on"][t]),
            }
            for t in positions
        ],
    }


def example_sources(
    root: Path, prepared: Prepared, trial: Trial, helped: Helped, folder: Path
) -> dict[str, Any]:
    """The whole sequence beside its sources, as `reports.sources` shows it: found or made as an
    artifact under `root`, by the model that was trained in `folder`.
    """

    def build(target: Path) -> None:
        (target / FILE_NAME).write_text(json.dumps(_sources(prepared, helped, folder), indent=1))

    evaluated = {name: fingerprint(nats.tobytes()) for name, nats in helped.nats.items()}
    inputs = {
        "cell": trial.recorded, "evaluated": evaluated, "chunks": helped.chunks_u.tolist(),
        "neighbours": helped.neighbours_uk.tolist(), "minimum_run": MINIMUM_RUN,
    }  # fmt: skip
    path = artifact(root, "sources", inputs, build) / FILE_NAME
    return json.loads(path.read_text())


def _sources(prepared: Prepared, helped: Helped, folder: Path) -> dict[str, Any]:
    run, store = load_run(folder), prepared.store
    predicted = int(helped.weights_t.sum())
    tokens_t = np.append(helped.tokens_t[0], helped.targets_t[:predicted])
    retrieved = [
        _retrieved(prepared, chunk, neighbours_k)
        for chunk, neighbours_k in zip(helped.chunks_u[: predicted // CHUNK], helped.neighbours_uk)
    ]
    document = int(store.chunk_documents(helped.chunks_u[0]))
    first = int(helped.chunks_u[0] - store.chunk_offsets[document])
    params = cast_for_compute(run.params, run.trial.precision)
    return {
        "title": store.sources[document],
        "note": (
            f"Held-out text ({store.domains[document]}) from chunk {first} of {store.num_chunks[document]} "
            f"on, read by {run.trial.name}, seed {run.trial.seed}. Chunk {helped.u + 2} below is, of all "
            "held-out chunks, the one that gained most from its neighbours: no typical one."
        ),
        "prompt_tokens": len(tokens_t),
        "tokens": tokens_t.tolist(),
        **explained(prepared, run.model, params, tokens_t, retrieved),
    }


def _retrieved(prepared: Prepared, chunk: int, neighbours_k: np.ndarray) -> Retrieved:
    """What the table holds for a chunk of these neighbours."""
    table = prepared.neighbours
    there = [np.flatnonzero(table.ids[chunk] == neighbour)[:1] for neighbour in neighbours_k]
    distances = [table.distances[chunk][at].item() if at.size else np.inf for at in there]
    return Retrieved(
        neighbours_k, np.array(distances, np.float32), *neighbour_tokens(prepared.store, neighbours_k)
    )
