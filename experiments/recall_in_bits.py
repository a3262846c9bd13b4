"""What lost recall costs: a trained RETRO's held-out bits per byte with neighbours found at each nprobe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data.artifacts import artifact
from errors import InputError
from evaluation.bits_per_byte import bits_per_byte, document_nats
from evaluation.intervals import paired_difference
from experiments.cells import device_batch, evaluation_neighbours, held_out, strategy_of
from experiments.prepare import SPARE_NEIGHBOURS, Prepared
from experiments.trained import TrainedRun, load_run
from parallelism.mesh import MeshShape, make_mesh
from retrieval.build_index import build_index, lists_and_codes
from retrieval.chunks import chunk_groups, store_hash
from retrieval.embed import embed_store
from retrieval.index import load_index, probing
from retrieval.nearest import nearest_outside_group
from retrieval.neighbours import NeighbourTable
from retrieval.recall import exact_truth, recall_at

NPROBES = (1, 4, 16, 64)


def bits_by_nprobe(folder: Path, nprobes: tuple[int, ...] = NPROBES) -> dict[str, Any]:
    """Rows {nprobe, recall@2, bits per byte, difference, low, high}: with exact neighbours, then with those
    from inverted lists of codes over the run's training chunks at each nprobe. Differences are to the exact
    ones, with a 95 % interval over documents, paired.

    Args:
        folder: of a cell of a RETRO that experiments.compare trained.

    Raises:
        InputError: the run is no RETRO, or has too few chunks for such an index.
    """
    run = load_run(folder)
    if not run.cell.retrieves:
        raise InputError(f"The run in {folder} is no RETRO: it has no neighbours to find. Give a RETRO's.")
    prepared, store = run.prepared, run.prepared.store
    encoder = prepared.key_encoder
    keys = embed_store(prepared.root, store, prepared.tokenizer, encoder)
    groups = chunk_groups(store, np.arange(len(keys)))
    is_held_out = np.repeat(store.is_validation, store.num_chunks)
    training, held_out_chunks = np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
    factory = lists_and_codes(len(training), keys.shape[1])
    made_of = {"store": store_hash(store), "tokenizer": prepared.tokenizer.hash, encoder.name: encoder.hash}
    index = load_index(build_index(prepared.root, keys, training, groups, factory, made_of))
    truth = exact_truth(keys, training, groups)
    evaluate = evaluator(run)
    nats, recalls = {"exact": evaluate(prepared.neighbours)}, {"exact": 1.0}
    k = evaluation_neighbours(run.cell.config) + SPARE_NEIGHBOURS
    for nprobe in nprobes:
        with probing(index, nprobe):
            recalls[nprobe] = recall_at(index, keys, groups, truth)
            found = nearest_outside_group(index, keys, groups, k, held_out_chunks)
        inputs = made_of | {"factory": factory, "nprobe": nprobe, "k": k, "held out": True}
        nats[nprobe] = evaluate(partial_table(prepared, len(keys), held_out_chunks, found, inputs))
    return {"run": str(folder), "factory": factory, "rows": rows(prepared, nats, recalls)}


def evaluator(run: TrainedRun) -> Callable[[NeighbourTable], np.ndarray]:
    """evaluate(table) -> float64 [documents]: held-out nats of the run's model with a table's neighbours."""
    strategy = strategy_of(run.cell, make_mesh(MeshShape(), jax.devices()[:1]))
    k = evaluation_neighbours(run.cell.config)

    def evaluate(table: NeighbourTable) -> np.ndarray:
        nats_d = np.zeros(table.store.num_documents)
        for batch, documents_bt in held_out(run.cell, table):
            nats_bt = np.asarray(strategy.evaluate(run.params, device_batch(batch, table, k)))
            nats_d += document_nats(nats_bt, documents_bt, len(nats_d))
        return nats_d

    return evaluate


def partial_table(
    prepared: Prepared, total: int, chunks: np.ndarray, found: tuple[np.ndarray, np.ndarray], inputs: dict
) -> NeighbourTable:
    """A table of `total` rows with those found for `chunks`; the others are empty."""

    def build(folder: Path) -> None:
        for name, column, missing in zip(("distances", "ids"), found, (np.float32(np.inf), -1)):
            whole = np.full([total, column.shape[1]], missing, column.dtype)
            whole[chunks] = column
            np.save(folder / f"{name}.npy", whole)

    return NeighbourTable(artifact(prepared.root, "neighbours", inputs, build), prepared.store)


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
