"""What came out of one training run: bits per byte at every milestone, by retrieval."""

from typing import Any

from evaluation.bits_per_byte import bits_per_byte
from judging.documents import documents_by_group
from judging.intervals import ratio
from models.families import count, parameter_shapes
from studies.prepare import Prepared
from studies.summary import bounds, corpus_facts
from studies.trials.held_out import evaluated_documents
from studies.trials.train import milestones, typical_speed
from studies.trials.trial import Trial, TrialResult


def summary(trial: Trial, prepared: Prepared, result: TrialResult) -> dict[str, Any]:
    """Rows of every milestone and retrieval, facts of the text, and the cost."""
    documents = evaluated_documents(trial, prepared.neighbours)
    num_bytes = prepared.store.num_bytes[documents.ids]
    text = documents_by_group(num_bytes, prepared.store.independent_groups(documents.ids))
    tokens_per_second, mfu = typical_speed(result.metrics)
    at_step = {**result.nats_at, trial.steps: result.nats}
    return {
        "corpus": corpus_facts(prepared, documents.ids),
        "rows": [
            {
                "model": trial.name,
                "retrieval": retrieval,
                "step": step,
                "tokens": step * trial.batch_size * trial.length,
                "bits_per_byte": bits_per_byte(nats_d, num_bytes),
                "interval": bounds(ratio(nats_d, text).interval),
            }
            for step in milestones(trial)
            for retrieval, nats_st in at_step[step].items()
            for nats_d in [documents.nats(nats_st)]
        ],
        "parameters": count(parameter_shapes(trial.config)),
        "train_tokens": result.train_tokens,
        "train_flops": result.train_flops,
        "tokens_per_second": tokens_per_second,
        "mfu": mfu,
    }
