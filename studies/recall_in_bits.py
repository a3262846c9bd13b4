"""What lost recall costs: a trained RETRO's held-out bits per byte with neighbours found at each nprobe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from errors import InputError
from judging.documents import Documents, documents_by_group
from judging.intervals import ratio
from parallelism.mesh import MeshShape, make_mesh
from retrieval.chunks import training_chunks
from retrieval.index.build import lists_and_codes
from retrieval.index.recall import read_recall
from retrieval.neighbours.table import NeighbourTable
from studies.neighbour_tables import table_for
from studies.trials.held_out import evaluate, evaluated_documents
from studies.trials.train import strategy_of
from studies.trials.trained import load_run

NPROBES = (1, 4, 16, 64)


def bits_by_nprobe(folder: Path, nprobes: tuple[int, ...] = NPROBES) -> dict[str, Any]:
    """Rows {nprobe, recall@2, bits per byte, difference, low, high}: with exact neighbours, then with those
    from inverted lists of codes over the run's training chunks at each nprobe. Differences are to the exact
    ones, with a 95 % interval over groups of documents, paired.

    Args:
        folder: of a trial of a RETRO that experiments.compare trained.

    Raises:
        InputError: the run is no RETRO, or has too few chunks for such an index.
    """
    run = load_run(folder)
    if not run.trial.retrieves:
        raise InputError(f"The run in {folder} is no RETRO: it has no neighbours to find. Give a RETRO's.")
    trial, prepared = run.trial, run.prepared
    k = trial.config.k_evaluation
    strategy = strategy_of(trial, make_mesh(MeshShape(), jax.devices()[:1]))
    documents = evaluated_documents(trial, prepared.neighbours)

    def nats_with(table: NeighbourTable, label: str) -> np.ndarray:
        return documents.nats(evaluate(trial, strategy, run.params, table, k, label))

    nats: dict[str | int, np.ndarray] = {"exact": nats_with(prepared.neighbours, "exact")}
    recalls: dict[str | int, float] = {"exact": 1.0}
    for nprobe in nprobes:
        path = prepared.root / table_for(prepared, "bert", k, nprobe=nprobe)
        nats[nprobe] = nats_with(NeighbourTable(path, prepared.store), f"nprobe {nprobe}")
        recalls[nprobe] = read_recall(path).reranked
    factory = lists_and_codes(len(training_chunks(prepared.store)), prepared.key_encoder.dimension)
    store = prepared.store
    text = documents_by_group(store.num_bytes[documents.ids], store.independent_groups(documents.ids))
    return {"run": str(folder), "factory": factory, "rows": rows(nats, recalls, text)}


def rows(
    nats: Mapping[str | int, np.ndarray], recalls: Mapping[str | int, float], documents: Documents
) -> list[dict[str, Any]]:
    """One row of each `nats` [D]; both mappings are by nprobe, `exact` among them."""
    table = []
    for name, nats_d in nats.items():
        beyond = ratio(nats_d - nats["exact"], documents)
        table.append(
            {
                "nprobe": name,
                "recall@2": recalls[name],
                "bits per byte": ratio(nats_d, documents).mean,
                "difference": beyond.mean,
                "low": beyond.interval.low if beyond.interval else None,
                "high": beyond.interval.high if beyond.interval else None,
            }
        )
    return table
