"""A text beside its sources, for a results file: what each chunk of 64 tokens was given to read, which tokens
the two share, and what every token cost with it and without. Its page: reports/sources.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from data.token_store import CHUNK
from data.tokenizers import Tokenizer
from evaluation.attribution import attribute
from models.decoder import Model, Neighbours, Params
from retrieval.database.live import Retrieved, Retriever, source
from retrieval.neighbours.overlap import shared_runs, text_tokens
from studies.prepare import Prepared

# Shorter runs are everywhere: a line's end and the spaces of the next.
MINIMUM_RUN = 4


def explained(
    made_of: Prepared | Retriever,
    model: Model,
    params: Params,
    tokens_t: np.ndarray,
    retrieved: Sequence[Retrieved],
) -> dict[str, Any]:
    """What is known about the sources of a text, by the names of a results file.

    Args:
      made_of: the store that neighbours come from, and the tokenizer.
      params: as the model computes with them.
      retrieved: for each chunk of 64 tokens that a further token follows; fields without their batch axis.

    Returns:
      token_texts: one per token, which together are the text. nats_on, nats_off: the loss of every token
      with its neighbours and without, None for the first one. minimum_run: of the tokens below.
      chunks: for each chunk u in turn its neighbours, each a dictionary: where it comes from (`source`, and
        from which `line` on, in a document of how many chunks); token_texts, what the model reads of it, of
        which the first continuation_at belong to the neighbour itself; the attention that it is given
        (`share`); and nats_without, the loss of every token of chunk u + 1, which it informs, when it is left
        out. runs: (start in chunk u + 1, start in its token_texts, length) of what it shares with that chunk.
    """
    neighbours = _stacked(retrieved, model.config)
    effects = attribute(model, params, tokens_t, neighbours)
    return {
        "token_texts": token_texts(tokens_t, made_of.tokenizer),
        "nats_on": [None, *effects.nats_on.tolist()],
        "nats_off": [None, *effects.nats_off.tolist()],
        "minimum_run": MINIMUM_RUN,
        "chunks": [
            [
                _neighbour(made_of, model.config, of_chunk, c, tokens_t[CHUNK * (u + 1) :][:CHUNK])
                | {
                    "share": float(effects.shares[u, c]),
                    "nats_without": _numbers(effects.nats_without[u, c]),
                }
                for c in np.flatnonzero(of_chunk.ids >= 0)
            ]
            for u, of_chunk in enumerate(retrieved)
        ],
    }


def token_texts(tokens: Sequence[int], tokenizer: Tokenizer) -> list[str]:
    """One text per token, which together are the text: special tokens are empty, and where bytes are tokens,
    a character stands at the last of its own.
    """
    texts, pending = [], []
    for i, token in enumerate(tokens):
        pending.append(token)
        # A character is at most four tokens, its bytes: a cut within one shows in what is decoded.
        text, ahead = tokenizer.decode(pending), tokens[i + 1 : i + 4]
        whole = tokenizer.decode([*pending, *ahead]) == text + tokenizer.decode(ahead)
        texts.append(text if whole else "")
        pending = [] if whole else pending
    return texts


def _stacked(retrieved: Sequence[Retrieved], config: Any) -> Neighbours:
    if not retrieved:
        return Neighbours(*np.zeros((2, 0, 1, config.neighbour), np.int32))
    return Neighbours(
        *(np.stack([getattr(of_chunk, name) for of_chunk in retrieved]) for name in ("tokens", "mask"))
    )


def _neighbour(
    made_of: Prepared | Retriever, config: Any, retrieved: Retrieved, c: int, informed_m: np.ndarray
) -> dict:
    """Where a neighbour comes from, what is read of it, and what of that the chunk holds which it informs."""
    store, tokenizer, chunk = made_of.store, made_of.tokenizer, int(retrieved.ids[c])
    read_r = retrieved.tokens[c, config.content][retrieved.mask[c, config.content]]
    document = int(store.chunk_documents(chunk))
    before = store.document_tokens(document)[: CHUNK * (chunk - store.chunk_offsets[document])]
    runs = shared_runs(text_tokens(store, informed_m), text_tokens(store, read_r), MINIMUM_RUN)
    return source(store, tokenizer, chunk, retrieved.distances[c]) | {
        "line": tokenizer.decode(before).count("\n") + 1,
        "chunks_in_document": int(store.num_chunks[document]),
        "token_texts": token_texts(read_r, tokenizer),
        "continuation_at": min(len(read_r), max(0, CHUNK - config.content.start)),
        "runs": [list(run) for run in runs],
    }


def _numbers(nats_m: np.ndarray) -> list[float]:
    return nats_m[~np.isnan(nats_m)].tolist()
