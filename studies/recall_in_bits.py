"""What lost recall costs: a trained RETRO's held-out bits per byte with neighbours found at each nprobe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from errors import InputError
from evaluation.bits_per_byte import bits_per_byte, document_nats
from judging.intervals import paired_difference
from parallelism.mesh import MeshShape, make_mesh
from retrieval.chunks import training_chunks
from retrieval.index.build import lists_and_codes
from retrieval.index.recall import read_recall
from retrieval.neighbours.batches import device_batch
from retrieval.neighbours.controls import approximate_table
from retrieval.neighbours.table import KeySource, NeighbourTable
from studies.prepare import SPARE_NEIGHBOURS, Prepared
from studies.trials.held_out import held_out
from studies.trials.train import strategy_of
from studies.trials.trained import TrainedRun, load_run

NPROBES = (1, 4, 16, 64)


def bits_by_nprobe(folder: Path, nprobes: tuple[int, ...] = NPROBES) -> dict[str, Any]:
    """Rows {nprobe, recall@2, bits per byte, difference, low, high}: with exact neighbours, then with those
    from inverted lists of codes over the run's training chunks at each nprobe. Differences are to the exact
    ones, with a 95 % interval over documents, paired.

    Args:
        folder: of a trial of a RETRO that experiments.compare trained.

    Raises:
        InputError: the run is no RETRO, or has too few chunks for such an index.
    """
    run = load_run(folder)
    if not run.trial.retrieves:
        raise InputError(f"The run in {folder} is no RETRO: it has no neighbours to find. Give a RETRO's.")
    prepared, store, encoder = run.prepared, run.prepared.store, run.prepared.key_encoder
    source = KeySource(store, prepared.tokenizer, encoder)
    held_out_chunks = np.flatnonzero(np.repeat(store.is_validation, store.num_chunks))
    k = run.trial.config.k_evaluation
    evaluate = evaluator(run)
    nats: dict[Any, np.ndarray] = {"exact": evaluate(prepared.neighbours)}
    recalls: dict[Any, float] = {"exact": 1.0}
    for nprobe in nprobes:
        path = approximate_table(prepared.root, source, nprobe, held_out_chunks, k, SPARE_NEIGHBOURS)
        nats[nprobe], recalls[nprobe] = evaluate(NeighbourTable(path, store)), read_recall(path).reranked
    factory = lists_and_codes(len(training_chunks(store)), encoder.dimension)
    return {"run": str(folder), "factory": factory, "rows": rows(prepared, nats, recalls)}


def evaluator(run: TrainedRun) -> Callable[[NeighbourTable], np.ndarray]:
    """evaluate(table) -> float64 [documents]: held-out nats of the run's model with a table's neighbours."""
    strategy = strategy_of(run.trial, make_mesh(MeshShape(), jax.devices()[:1]))
    k = run.trial.config.k_evaluation

    def evaluate(table: NeighbourTable) -> np.ndarray:
        nats_d = np.zeros(table.store.num_documents)
        for batch, documents_bt in held_out(run.trial, table):
            nats_bt = np.asarray(strategy.evaluate(run.params, device_batch(batch, table, k)))
            nats_d += document_nats(nats_bt, documents_bt, len(nats_d))
        return nats_d

    return evaluate


def rows(prepared: Prepared, nats: dict, recalls: dict) -> list[dict[str, Any]]:
    evaluated = np.flatnonzero(nats["exact"])
    num_bytes, exact_d = prepared.store.num_bytes[evaluated], nats["exact"][evaluated]
    table = []
    for name, nats_d in nats.items():
        interval = paired_difference(nats_d[evaluated], exact_d, num_bytes)
        table.append(
            {
                "nprobe": name,
                "recall@2": recalls[name],
                "bits per byte": bits_per_byte(nats_d[evaluated], num_bytes),
                "difference": bits_per_byte(nats_d[evaluated] - exact_d, num_bytes),
                "low": interval.low if interval else None,
                "high": interval.high if interval else None,
            }
        )
    return table
