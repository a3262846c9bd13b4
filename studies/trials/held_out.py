"""The held-out losses of a trial: the same batches for every model of a comparison."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from data.batches import Batch, TrainBatches, evaluation_batches
from data.token_store import CHUNK
from evaluation.bits_per_byte import document_nats
from models.decoder import Params
from parallelism.interface import Strategy
from processes.start import is_leader
from progress import Progress
from retrieval.neighbours.batches import beside_neighbours, with_neighbours
from retrieval.neighbours.table import NeighbourTable
from studies.trials.trial import Trial

EVALUATED_TOKENS = 8192  # at once, at most: a device has to hold their logits


def held_out(
    trial: Trial, table: NeighbourTable, rows: np.ndarray | None = None, stride: int | None = None
) -> Iterator[tuple[Batch, np.ndarray]]:
    """The evaluation batches of `trial`, or some rows of each, with the document of every token: the same for
    every model of a comparison. stride: as in `evaluation_batches`.
    """
    return evaluation_batches(
        table.store, sequences_evaluated(trial), trial.length, trial.evaluation_tokens, rows, stride
    )


def evaluation_batch(batch_size: int, length: int, ways: int = 1) -> int | None:
    """How many sequences are evaluated at once, a multiple of `ways`, where a batch of training is more than
    EVALUATED_TOKENS; None where it is not.
    """
    if batch_size * length <= EVALUATED_TOKENS:
        return None
    return ways * max(1, EVALUATED_TOKENS // (length * ways))


def sequences_evaluated(trial: Trial) -> int:
    """At once."""
    return trial.evaluation_batch or trial.batch_size


def require_text(
    trial: Trial, table: NeighbourTable, length: int | None = None, stride: int | None = None
) -> None:
    """Raises InputError, before anything is trained, where the text is too short to train `trial` on, or to
    evaluate it in sequences of `length`, its own where that is None.
    """
    TrainBatches(table.store, trial.batch_size, trial.length, trial.seed)
    held_out(trial if length is None else dataclasses.replace(trial, length=length), table, stride=stride)


def share_beside_neighbours(trial: Trial, table: NeighbourTable) -> float:
    """Of the held-out tokens that `trial` predicts, the share that it predicts with neighbours in view."""
    predicted = beside = 0
    for batch, _ in held_out(trial, table):
        predicted += int((batch.weights > 0).sum())
        beside += int(beside_neighbours(batch, table, trial.config.k_evaluation).sum())
    return beside / predicted  # at least one sequence is predicted: `require_text`


def few_in_view(share: float) -> str:
    """What is to be said where that `share` is less than a quarter: RETRO then has little to differ by. (In
    sequences of two chunks it is a half.)
    """
    if share >= 0.25:
        return ""
    none = "No held-out token is predicted with neighbours in view, and RETRO on is RETRO off"
    few = f"Only {share:.2%} of the held-out tokens are predicted with neighbours in view"
    return (
        f"{few if share else none}: those of a chunk are read from its last token, the {CHUNK}th, on, and "
        "not beyond its document or sequence. Longer documents or a larger --length bring more into view."
    )


@dataclass(frozen=True)
class EvaluatedDocuments:
    """Which documents of a token store are evaluated.

    documents_st: int64 [S, T], the document of every token of the evaluation batches, -1 on padding.
    total: how many documents the store has.
    """

    documents_st: np.ndarray
    total: int

    @cached_property
    def ids(self) -> np.ndarray:
        """int64 [D], rising."""
        return np.unique(self.documents_st[self.documents_st >= 0])

    def nats_of_all(self, nats_st: np.ndarray) -> np.ndarray:
        """float64 [documents of the store]: the sum of a document's losses; 0 where none is evaluated."""
        return document_nats(nats_st, self.documents_st, self.total)

    def nats(self, nats_st: np.ndarray) -> np.ndarray:
        """float64 [D]: the sum of the losses of each evaluated document."""
        return self.nats_of_all(nats_st)[self.ids]


def evaluated_documents(trial: Trial, table: NeighbourTable, stride: int | None = None) -> EvaluatedDocuments:
    """The documents that `evaluate` goes through."""
    documents_st = np.concatenate([documents for _, documents in held_out(trial, table, stride=stride)])
    return EvaluatedDocuments(documents_st, table.store.num_documents)


def evaluate(
    trial: Trial, strategy: Strategy, params: Params, table: NeighbourTable, k: int,
    label: str | None = None, stride: int | None = None,
) -> np.ndarray:  # fmt: skip
    """float32 [S, T]: the loss of every held-out token with k neighbours, zero where nothing is predicted."""
    batches = list(held_out(trial, table, strategy.rows(sequences_evaluated(trial)), stride))
    kind = f" retrieval {label}" if label else ""
    progress = Progress(f"{trial.name} seed {trial.seed}{kind}: evaluation", len(batches), shown=is_leader())
    results = []
    for done, (batch, _) in enumerate(batches, start=1):
        results.append(np.asarray(strategy.evaluate(params, with_neighbours(batch, table, k))))
        progress.advance(done)
    progress.close()
    return np.concatenate(results)


def evaluation_path(
    folder: Path, retrieval: str | None, step: int | None = None, trial: Trial | None = None
) -> Path:
    """Where the held-out losses of a trial lie; step: one of `trial`'s milestones, None for the last."""
    at = "" if step is None or step == trial.steps else f"-step-{step}"
    return folder / f"evaluation-{retrieval or 'dense'}{at}.npy"
