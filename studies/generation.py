"""What stands between a trained run and its text: a prompt as tokens, the model that continues it, what it
retrieves from, and the record of what came out.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.token_store import CHUNK
from data.tokenizers import Tokenizer
from errors import InputError
from evaluation.sampling import Generated
from models.decoder import Model
from models.families import build
from retrieval.database.database import Database
from retrieval.database.live import Retrieved, Retriever, open_retriever, retriever_from, source
from studies.prepare import Prepared
from studies.trials.trained import TrainedRun


def encoded(text: str, tokenizer: Tokenizer, name: str) -> np.ndarray:
    """int32 [tokens]: bos and the tokens of a prompt, which messages call `name`.

    Raises:
      InputError: a character has no place in the vocabulary; the message names it and its position.
    """
    try:
        ids = tokenizer.encode(text)
    except InputError as error:
        raise InputError(f"{name} cannot be read. {error}") from error
    if (ids == tokenizer.unk_id).any():
        at = next(i for i in range(len(text)) if tokenizer.unk_id in tokenizer.encode(text[: i + 1]))
        raise InputError(
            f"{name}: the vocabulary does not know character {at}, {text[at]!r}. Leave it out or write it "
            "in another way."
        )
    return np.concatenate([np.array([tokenizer.bos_id], np.int32), ids])


def model_of(run: TrainedRun, retrieves: bool, neighbours: int | None) -> Model:
    """The run's model; of a RETRO its decoder alone, where it is not to retrieve, or with `neighbours`."""
    config = run.trial.config
    if run.trial.retrieves and not retrieves:
        return build(config.decoder)  # which reads its part of RETRO's parameters
    if neighbours is not None:
        return build(dataclasses.replace(config, evaluation_neighbours=neighbours))
    return run.model


def require_positions(model: Model, prompts: Sequence[np.ndarray], new_tokens: int) -> None:
    """Learned positions end with the table that they were learned in."""
    decoder = model.config.decoder
    for number, prompt in enumerate(prompts, start=1):
        # The last new token is not read any more.
        if decoder.positions == "learned" and len(prompt) + new_tokens - 1 > decoder.max_length:
            raise InputError(
                f"Prompt {number} has {len(prompt)} tokens and {new_tokens} are to follow, but the model has "
                f"learned positions and only {decoder.max_length} of them. Give a shorter prompt or fewer "
                "--tokens."
            )


def retriever_of(prepared: Prepared, model: Model, database: Path | None) -> Retriever:
    """What retrieves for `model` while it reads: from `database`, or else from the text it was trained on."""
    k = model.config.k_evaluation
    try:
        if database is not None:
            return retriever_from(Database(database), prepared.tokenizer, k)
        store, encoder = prepared.store, prepared.key_encoder
        return open_retriever(prepared.index_path, store, prepared.tokenizer, encoder, k)
    except InputError as error:
        raise InputError(f"{error} Or generate without neighbours: --retrieval off.") from error


def as_given(prompt: np.ndarray, retriever: Retriever) -> Generated:
    """A prompt to which nothing is added, with what its chunks retrieve where a token follows them."""
    chunks = prompt[: (len(prompt) - 1) // CHUNK * CHUNK].reshape(-1, CHUNK)
    retrieved = [Retrieved(*fields) for fields in zip(*retriever(chunks))] if len(chunks) else []
    return Generated(len(prompt), prompt, np.zeros(0, np.float32), "", "length", tuple(retrieved))


def described(prompt: str, result: Generated, made_of: Prepared | Retriever) -> dict[str, Any]:
    """A continuation for the results file, with the sources of all that was retrieved on the way."""
    return {
        "prompt": prompt,
        "continuation": result.text,
        "ended_by": result.ended_by,
        "prompt_tokens": result.prompt_tokens,
        "tokens": result.tokens.tolist(),
        "nats": result.nats.tolist(),
        "chunks": [
            [
                source(made_of.store, made_of.tokenizer, int(chunk), distance)
                for chunk, distance in zip(retrieved.ids, retrieved.distances)
                if chunk >= 0
            ]
            for retrieved in result.retrieved
        ],
    }
