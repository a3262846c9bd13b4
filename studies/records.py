"""What came out of a study, as judging.verdicts reads it: every row with every trial, and the losses of all
held-out documents. Nothing is judged here, and no trial is left out.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.families import count, family_of, parameter_shapes
from models.flops import retrofit_flops_per_token, train_flops_per_token
from storage.sealed import load_array
from studies.environment import peak_facts
from studies.prepare import Prepared
from studies.rows import Row
from studies.summary import corpus_facts
from studies.trials.grid import failure, finished
from studies.trials.held_out import EvaluatedDocuments, evaluated_documents, evaluation_path
from studies.trials.train import late_loss, typical_speed
from studies.trials.trial import Trial
from studies.trials.worker import Evaluation, Task, other_evaluation_path, read_cost
from training.metrics import read_metrics

UNKNOWN = ("nats", "nats_off", "train_nats", "tokens_per_second", "mfu", "peak_bytes", "seconds")


@dataclass(frozen=True)
class Source:
    """Where a row's trials come from. task(seed): the task of the row that is trained. evaluations: how it
    is evaluated anew, several where its database is drawn, none for what every trial is evaluated on.
    """

    row: Row
    task: Callable[[int], Task]
    evaluations: tuple[Evaluation, ...]


def records_of(
    prepared: Prepared,
    sources: Sequence[Source],
    seeds: Sequence[int],
    null_seeds: Sequence[int],
    peak: float,
) -> dict[str, Any]:
    """What results.json has of a study beside its head and its configuration.

    Args:
      sources: of all rows, the reference first.
      null_seeds: of the reference alone, for the null check; none where there is no such check.
      peak: of one worker in FLOP/s.
    """
    reference, store = sources[0], prepared.store
    documents = evaluated_documents(reference.task(seeds[0]).trial, prepared.neighbours)
    groups = store.independent_groups(documents.ids)

    def trials(source, seeds):
        return [trial_record(source, seed, documents) for seed in seeds]

    return {
        "peak": peak_facts(peak),
        "corpus": corpus_facts(prepared, documents.ids),
        "documents": [
            {
                "source": str(store.sources[document]),
                "domain": str(store.domains[document]),
                "group": str(group),
                "bytes": int(store.num_bytes[document]),
                "shared_ngrams": float(store.shared_ngrams[document]),
            }
            for document, group in zip(documents.ids, groups)
        ],
        "rows": [row_record(source) | {"cells": trials(source, seeds)} for source in sources],
        "null": {"of": reference.row.name, "cells": trials(reference, null_seeds)} if null_seeds else None,
    }


def row_record(source: Source) -> dict[str, Any]:
    """A row without its trials: what it is, what it costs, and what the paper says."""
    row, trial = source.row, source.task(0).trial
    tokens = (row.reevaluation and row.reevaluation.step or trial.steps) * trial.batch_size * trial.length
    flops = (retrofit_flops_per_token if trial.pretrained else train_flops_per_token)(
        trial.config, trial.length, batch_size=trial.batch_size
    )
    note = row.note
    if trial.recipe and trial.peak and "peak" not in row.change:
        note = f"{note}; peak learning rate {trial.peak:g}, the best of experiments.sweep"
    return {
        "name": row.name,
        "group": row.group,
        "against": row.against,
        "interaction": row.interaction,
        "change": dict(row.change) | ({} if trial.z_loss is None else {"z_loss": trial.z_loss}),
        "note": note.removeprefix("; "),
        "paper": row.paper and dataclasses.asdict(row.paper),
        "facts": facts_of(row, trial, tokens),
        "parameters": count(parameter_shapes(trial.config)),
        "train_tokens": tokens,
        "train_flops": flops * tokens,
    }


def facts_of(row: Row, trial: Trial, tokens: int) -> dict[str, Any]:
    """What curves are drawn over: tokens trained on, tokens of a sequence, neighbours, share of the database;
    and whether the windows of evaluation overlap, as all of a curve or none must.

    retrieval and initialisation are None for a dense model.
    """
    again, config = row.reevaluation, trial.config
    facts = {
        "family": family_of(config).name, "retrieval": None, "initialisation": None, "tokens": tokens,
        "length": trial.length * (again and again.longer or 1),
        "overlapping": bool(again and again.overlapping),
    }  # fmt: skip
    if trial.retrieves:
        facts |= {
            "retrieval": "off" if again and again.off else "on",
            "initialisation": config.cca_initialisation,
            "k": config.k_evaluation if again is None or again.k is None else again.k,
            "database": 1.0 if again is None or again.share is None else again.share,
        }
    return facts | dict(row.facts)


def trial_record(source: Source, seed: int, documents: EvaluatedDocuments) -> dict[str, Any]:
    """One seed of a row; of a trial that did not finish, why. Where the database is drawn, `draws` has the
    nats of every draw, and `nats` their mean.
    """
    task, again = source.task(seed), source.row.reevaluation
    record = {
        "seed": seed,
        "cell": task.folder.name,
        "status": "finished",
        "reason": None,
        "last_finite": None,
        **dict.fromkeys(UNKNOWN),
    }
    if not finished(task):
        why = {"status": "failed", "reason": "it was not trained", "last_finite": None}
        return record | (failure(task) or why)

    def of_documents(retrieval):
        path = evaluation_path(task.folder, retrieval, again and again.step, task.trial)
        return documents.nats(load_array(path)).tolist()

    if source.evaluations:
        paths = [other_evaluation_path(task.folder, evaluation) for evaluation in source.evaluations]
        nats_rd = np.stack([load_array(path)[documents.ids] for path in paths])
        nats_d = nats_rd.mean(axis=0).tolist()
        if again.share is not None:
            record["draws"] = nats_rd.tolist()
    else:
        nats_d = of_documents("off" if again and again.off else task.trial.retrievals[-1])
    with_off = task.trial.retrieves and not (again and (again.off or again.longer or again.overlapping))
    metrics = read_metrics(task.folder)
    tokens_per_second, mfu = typical_speed(metrics)
    cost = read_cost(task.folder)
    return record | {
        "nats": nats_d,
        "nats_off": of_documents("off") if with_off else None,
        "train_nats": late_loss(metrics),
        "tokens_per_second": tokens_per_second,
        "mfu": mfu,
        "peak_bytes": cost["peak_bytes"],
        "seconds": cost["train_seconds"],
    }
