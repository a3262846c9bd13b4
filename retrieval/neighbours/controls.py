"""Neighbour tables that are worse on purpose: drawn at random, from a share of the documents, or through an
approximate index. What RETRO loses by each says what it reads neighbours for.

All have the layout of `retrieval.neighbours.table.build_neighbour_table`, k + spare columns, and no neighbour
of the query's own duplicate group.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.token_store import TokenStore
from errors import InputError
from retrieval.chunks import chunk_groups, store_hash, training_chunks
from retrieval.index.build import build_in_memory, lists_and_codes
from retrieval.index.index import load_index, make_index, probing
from retrieval.index.nearest_outside_group import nearest_outside_group
from retrieval.index.recall import measure_recall, write_recall
from retrieval.keys.embed import embed_store
from retrieval.neighbours.table import (
    KeySource,
    Rows,
    build_neighbour_table,
    build_training_index,
    inputs_of,
    read_rows,
    save_rows,
)
from storage.artifacts import artifact


def random_table(root: Path, store: TokenStore, k: int = 2, spare: int = 8, seed: int = 0) -> Path:
    """The artifact folder of a table of training chunks drawn at random for every chunk, none twice in a row:
    retrieval without relevance. Distances are 0, inf = missing.
    """
    width = k + spare

    def build(folder: Path) -> None:
        groups_n = chunk_groups(store, np.arange(store.chunk_offsets[-1]))
        training = training_chunks(store)
        training = training[np.argsort(groups_n[training], kind="stable")]
        # What may be drawn is all but the query's own group, which is a run of these.
        starts, ends = (np.searchsorted(groups_n[training], groups_n, side) for side in ("left", "right"))
        ids = np.full([len(groups_n), width], -1, np.int64)
        rng = np.random.default_rng(seed)
        for row, (start, end) in enumerate(zip(starts, ends)):
            others = len(training) - (end - start)
            drawn = rng.choice(others, min(width, others), replace=False)
            ids[row, : len(drawn)] = training[np.where(drawn < start, drawn, drawn + end - start)]
        save_rows(folder, (np.where(ids < 0, np.float32(np.inf), np.float32(0)), ids))

    inputs = {"store": store_hash(store), "drawn with seed": seed, "k": k, "spare": spare}
    return artifact(root, "neighbours", inputs, build)


def document_share_table(
    root: Path, source: KeySource, share: float, chunks: np.ndarray, k: int = 2, spare: int = 8, seed: int = 0
) -> Path:
    """The artifact folder of a table with the exact neighbours of `chunks` among those of a share of the
    training documents; other rows are empty.

    The documents are drawn at random, and those of a smaller share are in every larger one. Rows at share 1
    are those of `build_neighbour_table`, bit for bit.

    Args:
        share: of the training documents by number, above 0, at most 1; rounded, and one document at least.
        chunks: int64 global ids of the queries.

    Raises:
        InputError: share is out of range.
    """
    if not 0 < share <= 1:
        raise InputError(f"A share of {share} of the training documents: give one above 0, at most 1.")
    store = source.store

    def rows_into(_: Path) -> Rows:
        if share == 1:
            # Searched anew in other batches, equal texts could take each other's place in the last column.
            whole = read_rows(build_neighbour_table(root, *source, k, spare))
            return tuple(column[chunks] for column in whole)
        documents = np.flatnonzero(~store.is_validation)
        kept = np.random.default_rng(seed).permutation(documents)[: max(1, round(share * len(documents)))]
        training = training_chunks(store)
        training = training[np.isin(store.chunk_documents(training), kept)]
        keys = embed_store(root, *source)
        index = build_in_memory(make_index("Flat", source.encoder.dimension), keys, training, "Flat")
        groups_n = chunk_groups(store, np.arange(len(keys)))
        return nearest_outside_group(index, keys, groups_n, k + spare, chunks)

    inputs = inputs_of(*source) | {"share": float(share), "seed": seed, "k": k, "spare": spare}
    return partial_table(root, store, chunks, inputs, rows_into)


def approximate_table(
    root: Path, source: KeySource, nprobe: int, chunks: np.ndarray, k: int = 2, spare: int = 8
) -> Path:
    """The artifact folder of a table with the neighbours of `chunks` (int64 global ids) that inverted lists
    of codes over the training chunks find at `nprobe`; other rows are empty.

    Beside it lies the recall of that search on a sample of the training chunks, for
    `retrieval.index.recall.read_recall`.

    Raises:
        InputError: there are too few chunks for such an index.
    """
    store, training = source.store, training_chunks(source.store)
    factory = lists_and_codes(len(training), source.encoder.dimension)

    def rows_into(folder: Path) -> Rows:
        keys = embed_store(root, *source)
        index = load_index(build_training_index(root, *source, factory), source.encoder.dimension)
        groups_n = chunk_groups(store, np.arange(len(keys)))
        with probing(index, nprobe):
            write_recall(folder, measure_recall(index, keys, training, groups_n))
            return nearest_outside_group(index, keys, groups_n, k + spare, chunks)

    inputs = inputs_of(*source) | {"factory": factory, "nprobe": nprobe}
    return partial_table(root, store, chunks, inputs | {"k": k, "spare": spare}, rows_into)


def partial_table(
    root: Path,
    store: TokenStore,
    chunks: np.ndarray,
    inputs: Mapping[str, Any],
    rows_into: Callable[[Path], Rows],
) -> Path:
    """The artifact folder of a table for `store` with the rows of `chunks` alone; the others are empty.

    inputs: what the rows depend on beside `chunks`. rows_into(folder) gives them, and may put more into the
    folder.
    """
    chunks = np.asarray(chunks, np.int64)

    def build(folder: Path) -> None:
        whole = []
        for column, missing in zip(rows_into(folder), (np.inf, -1)):
            whole.append(np.full([store.chunk_offsets[-1], column.shape[1]], missing, column.dtype))
            whole[-1][chunks] = column
        save_rows(folder, tuple(whole))

    return artifact(root, "neighbours", {**inputs, "chunks": chunks.tobytes()}, build)
