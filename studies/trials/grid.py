"""Many trials, several at a time, each in a process and on a core of its own: two small models on one core
each take about 0.7 of the time that they take one after the other on both.

A trial lies in a folder named by the fingerprint of its configuration, shared by all experiments. What is
finished is never run again; what crashed is tried once more, and then stands in the table as failed.
"""

import dataclasses
import json
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from errors import InputError
from models.families import family_of
from processes import host
from processes.workers import cores, end_with_parent
from progress import bar
from storage.artifacts import fingerprint
from storage.sealed import read_sealed
from studies.trials.held_out import evaluation_path
from studies.trials.train import milestones
from studies.trials.trial import Trial
from studies.trials.worker import COST, FAILURE, LOG, Task, other_evaluation_path, work, write_failure
from training.interruption import stop_requests

ATTEMPTS = 2
POLL_SECONDS = 1.0
COMPILED = "compiled"
LAYOUT = "{desc} {n_fmt}/{total_fmt} [{elapsed}<{remaining}]{postfix}"


def trial_folder(trials: Path, trial: Trial) -> Path:
    """Where `trial` lies below the folder of all trials."""
    return trials / f"{family_of(trial.config).name}-{fingerprint(trial.recorded)}"


def finished(task: Task) -> bool:
    """Whether all that `task` asks for is there."""
    trial = task.trial
    paths = [
        evaluation_path(task.folder, retrieval, step, trial)
        for retrieval in trial.retrievals
        for step in milestones(trial)
    ]
    paths += [other_evaluation_path(task.folder, evaluation) for evaluation in task.evaluations]
    return all(path.exists() for path in [*paths, task.folder / COST])


def failure(task: Task) -> dict | None:
    """What failure.json says of a task that is not finished."""
    path = task.folder / FAILURE
    return read_sealed(path) if path.exists() and not finished(task) else None


def run_grid(tasks: Sequence[Task], workers: int, peak: float, trials: Path) -> None:
    """Runs what is not finished of `tasks`, in their order, `workers` at a time. Tasks that diverged before
    are left as they are, those that crashed are tried again.

    Args:
      peak: of one worker in FLOP/s.

    Raises:
      KeyboardInterrupt: after SIGINT or SIGTERM, once every worker has saved the step in flight.
    """
    todo = deque((task, 1) for task in to_be_done(tasks))
    if not todo:
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the libraries of processes yet to start
    host.keep_freed_memory_in_children()
    context = multiprocessing.get_context("spawn")
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    places = deque(available[:workers] if 1 < workers <= len(available) else [None] * workers)
    running: dict[int, tuple] = {}  # by sentinel
    progress = TrialsProgress(len(todo))
    with stop_requests() as asked_to_stop:
        while todo or running:
            while todo and places and not asked_to_stop():
                task, attempt = todo.popleft()
                place = places.popleft()
                process = context.Process(
                    target=work_with_parent, args=(task, peak, place, trials / COMPILED)
                )
                process.start()
                running[process.sentinel] = process, task, attempt, place
            if asked_to_stop():
                _end([process for process, *_ in running.values()])
                raise KeyboardInterrupt
            progress.show([task for _, task, *_ in running.values()])
            ended: list[Any] = wait(list(running), timeout=POLL_SECONDS)
            for sentinel in ended:
                process, task, attempt, place = running.pop(sentinel)
                process.join()
                places.append(place)
                if fails(task, process.exitcode, attempt):
                    todo.append((task, attempt + 1))
                else:
                    progress.one_more()
    progress.close()


def to_be_done(tasks: Sequence[Task]) -> list[Task]:
    """What is not finished of `tasks` and did not diverge, one task per folder; a failure is forgotten."""
    todo = [task for task in _merged(tasks) if not finished(task) and not _diverged(task)]
    for task in todo:
        (task.folder / FAILURE).unlink(missing_ok=True)
    return todo


def fails(task: Task, exit_code: int | None, attempt: int) -> bool:
    """Whether a task whose process has ended is to be tried again; after ATTEMPTS it stands as failed."""
    if exit_code == 0 or _diverged(task):
        return False
    if attempt < ATTEMPTS:
        return True
    write_failure(task.folder, "failed", _last_words(task.folder, exit_code))
    return False


def work_with_parent(*arguments: Any) -> None:
    """`work`, which stops after the step in flight where this process's parent is killed."""
    end_with_parent()
    work(*arguments)


class TrialsProgress:
    """One line: how many trials are done, which are under way, and the time to go."""

    def __init__(self, total: int):
        self._bar = bar("cells", total, "cell", layout=LAYOUT)
        self._shown = 0.0

    def show(self, under_way: Sequence[Task]) -> None:
        if time.monotonic() - self._shown > self._bar.mininterval:
            self._shown = time.monotonic()
            self._bar.set_postfix_str(
                "; ".join(f"{task.name} seed {task.trial.seed}, {_at(task)}" for task in under_way)
            )

    def one_more(self) -> None:
        self._bar.update()

    def close(self) -> None:
        self._bar.close()


def _at(task: Task) -> str:
    """The step that a trial has reached, by the size of no file but its last line of metrics."""
    path = task.folder / "metrics.jsonl"
    if not path.exists():
        return "starting"
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 2048))
        lines = file.read().split(b"\n")
    try:
        return f"step {json.loads(lines[-2])['step']}/{task.trial.steps}"
    except (IndexError, ValueError, KeyError):
        return "starting"


def _merged(tasks: Sequence[Task]) -> list[Task]:
    """One task per folder, with the evaluations of all that want it."""
    merged: dict[Path, Task] = {}
    for task in tasks:
        known = merged.get(task.folder)
        evaluations = dict.fromkeys([*(known.evaluations if known else ()), *task.evaluations])
        merged[task.folder] = dataclasses.replace(task, evaluations=tuple(evaluations))
    return list(merged.values())


def _diverged(task: Task) -> bool:
    return (failure(task) or {}).get("status") == "diverged"


def _end(processes: list) -> None:
    """Lets every process save the step in flight."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def _last_words(folder: Path, exit_code: int | None) -> str:
    path = folder / LOG
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
    words = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    how = f"ended by signal {-exit_code}" if (exit_code or 0) < 0 else f"exit code {exit_code}"
    return f"{ATTEMPTS} attempts, {how}: {words[:300]}"


def number_of_workers(asked: int | None) -> int:
    """`--workers`; by default one per core where models are trained on CPUs, one for any accelerator.

    Raises:
      InputError: fewer than one.
    """
    import jax

    if asked is not None and asked < 1:
        raise InputError(f"--workers {asked}: give a whole number of at least 1.")
    return asked or (cores() if jax.default_backend() == "cpu" else 1)
