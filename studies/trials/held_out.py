"""The held-out losses of a trial: the same batches for every model of a comparison."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.batches import Batch, evaluation_batches
from models.decoder import Params
from parallelism.interface import Strategy
from processes.start import is_leader
from progress import Progress
from retrieval.neighbours.batches import device_batch
from retrieval.neighbours.table import NeighbourTable
from studies.trials.trial import Trial


def held_out(
    trial: Trial, table: NeighbourTable, rows: np.ndarray | None = None
) -> Iterator[tuple[Batch, np.ndarray]]:
    """The evaluation batches of `trial`, or some rows of each, with the document of every token: the same for
    every model of a comparison.
    """
    return evaluation_batches(table.store, trial.batch_size, trial.length, trial.evaluation_tokens, rows)


def evaluate(
    trial: Trial, strategy: Strategy, params: Params, table: NeighbourTable, k: int, label: str | None = None
) -> np.ndarray:
    """float32 [S, T]: the loss of every held-out token with k neighbours, zero where nothing is predicted."""
    batches = list(held_out(trial, table, strategy.rows(trial.batch_size)))
    kind = f" retrieval {label}" if label else ""
    progress = Progress(f"{trial.name} seed {trial.seed}{kind}: evaluation", len(batches), shown=is_leader())
    results = []
    for done, (batch, _) in enumerate(batches, start=1):
        results.append(np.asarray(strategy.evaluate(params, device_batch(batch, table, k))))
        progress.advance(done)
    progress.close()
    return np.concatenate(results)


def evaluation_path(
    folder: Path, retrieval: str | None, step: int | None = None, trial: Trial | None = None
) -> Path:
    """Where the held-out losses of a trial lie; step: one of `trial`'s milestones, None for the last."""
    at = "" if step is None or step == trial.steps else f"-step-{step}"
    return folder / f"evaluation-{retrieval or 'dense'}{at}.npy"


def save_array(path: Path, array: np.ndarray) -> None:
    """`array` in a `.npy` file, whole or not at all."""
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        np.save(file, array, allow_pickle=False)
    partial.replace(path)
