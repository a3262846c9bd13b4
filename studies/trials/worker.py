"""One trial trained and evaluated in a process of its own, on one core: what studies.trials.grid starts."""

import dataclasses
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from errors import InputError
from models.families import lengthened
from parallelism.mesh import MeshShape, make_mesh
from processes import host
from retrieval.neighbours.table import NeighbourTable
from storage.files import locked
from storage.sealed import read_sealed, save_array, write_sealed
from studies.environment import peak_memory
from studies.fitting import require_fit
from studies.prepare import Prepared
from studies.trials.held_out import evaluate, evaluated_documents
from studies.trials.train import run_trial, started_from, strategy_of
from studies.trials.trained import TrainedRun, load_run
from studies.trials.trial import Trial
from training.loop import Diverged
from training.metrics import read_metrics

COST, FAILURE, LOG = "cost.json", "failure.json", "log.txt"


@dataclass(frozen=True)
class Evaluation:
    """Another way to evaluate a trained trial: with k neighbours (None for the trial's own number), from
    another neighbour table (its artifact's name), at another length, in windows that start every `stride`
    tokens (None for windows side by side).
    """

    k: int | None = None
    table: str | None = None
    length: int | None = None
    stride: int | None = None

    @property
    def file_name(self) -> str:
        fields = (f"{name}-{value}" for name, value in dataclasses.asdict(self).items() if value is not None)
        return "-".join(["reading", *fields]) + ".npy"


@dataclass(frozen=True)
class Task:
    """A trial in its folder, and how else it is evaluated. name: what is shown. pretrained: the folder of
    the dense trial whose parameters it starts from.
    """

    name: str
    trial: Trial
    folder: Path
    prepared: Prepared
    evaluations: tuple[Evaluation, ...] = ()
    pretrained: Path | None = None


def work(task: Task, peak: float, core: int | None, compiled: Path) -> None:
    """Finishes `task`, with all that it prints in its folder's log. Ends the process with exit code 1 where
    that fails; what diverged leaves failure.json.

    Args:
      core: the one that this process keeps to; None for all.
      compiled: folder of compiled programs, which trials of one shape share.
    """
    task.folder.mkdir(parents=True, exist_ok=True)
    log = os.open(task.folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW)
    os.dup2(log, 1)
    os.dup2(log, 2)
    host.tune()
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    jax.config.update("jax_compilation_cache_dir", str(compiled))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    try:
        with locked(task.folder / ".lock"):
            _finish(task, peak)
    except KeyboardInterrupt:
        sys.exit(130)
    except Diverged as reason:
        lines = read_metrics(task.folder)
        last = {name: lines[-1][name] for name in ("step", "nats")} if lines else None
        write_failure(task.folder, "diverged", str(reason), last)
        sys.exit(1)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def write_failure(folder: Path, status: str, reason: str, last_finite: dict | None = None) -> None:
    """status: diverged or failed. last_finite: the step and nats of the last finite loss."""
    write_sealed(folder / FAILURE, {"status": status, "reason": reason, "last_finite": last_finite})


def other_evaluation_path(folder: Path, evaluation: Evaluation) -> Path:
    """Where its loss of every document lies, float64 [documents of the store]."""
    return folder / evaluation.file_name


def _finish(task: Task, peak: float) -> None:
    mesh = make_mesh(MeshShape(), jax.devices()[:1])
    strategy = strategy_of(task.trial, mesh, require_fit(task.trial, mesh))
    if task.pretrained:
        strategy = started_from(load_run(task.pretrained, mesh).params, strategy)
    run_trial(task.trial, task.prepared, strategy, peak, task.folder)
    missing = [
        evaluation
        for evaluation in task.evaluations
        if not other_evaluation_path(task.folder, evaluation).exists()
    ]
    run = load_run(task.folder, mesh) if missing else None
    for evaluation in missing:
        save_array(other_evaluation_path(task.folder, evaluation), read(run, evaluation))
    path = task.folder / COST
    before = read_cost(task.folder)["peak_bytes"] if path.exists() else 0
    seconds = sum(line["seconds"] for line in read_metrics(task.folder))
    write_sealed(path, {"peak_bytes": max(before, peak_memory()), "train_seconds": seconds})


def read_cost(folder: Path) -> dict[str, Any]:
    """peak_bytes and train_seconds of a finished trial.

    Raises:
      InputError: the file is damaged.
    """
    try:
        cost = read_sealed(folder / COST)
        return {name: cost[name] for name in ("peak_bytes", "train_seconds")}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder / COST} is missing or damaged ({error!r}). Remove it and run the command again: it is "
            "written anew, and nothing trained."
        ) from error


def read(run: TrainedRun, evaluation: Evaluation) -> np.ndarray:
    """float64 [documents]: the held-out nats of a trained trial under `evaluation`; zero where nothing is
    evaluated. Longer sequences come in smaller batches, of as many tokens.
    """
    trial, params, prepared = run.trial, run.params, run.prepared
    if evaluation.length is not None:
        config, params = lengthened(trial.config, params, evaluation.length)
        batch_size = max(1, trial.batch_size * trial.length // evaluation.length)
        trial = dataclasses.replace(
            trial, config=config, length=evaluation.length, batch_size=batch_size, evaluation_batch=None
        )
    table = prepared.neighbours
    if evaluation.table is not None:
        table = NeighbourTable(prepared.root / evaluation.table, prepared.store)
    k = trial.config.k_evaluation if evaluation.k is None else evaluation.k
    strategy = strategy_of(trial, make_mesh(MeshShape(), jax.devices()[:1]))
    nats_st = evaluate(trial, strategy, params, table, k, evaluation.file_name, evaluation.stride)
    return evaluated_documents(trial, table, evaluation.stride).nats_of_all(nats_st)
