"""The neighbour table: the nearest training chunks of every chunk, computed once, keyed by chunk id.

RETRO must not read what it is about to predict (arXiv 2112.04426, Section 2.2): a neighbour of the query's
own duplicate group, hence of its own document, is removed when the table is built; one whose group occurs
elsewhere in the same training sequence is skipped at lookup. The table keeps `spare` neighbours beyond k to
fill such gaps; what cannot be filled is masked.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.token_store import TokenStore
from data.tokenizers import Tokenizer
from errors import InputError
from retrieval.chunks import chunk_groups, neighbour_tokens, store_hash, training_chunks
from retrieval.index.build import resolved, write_index
from retrieval.index.index import load_index
from retrieval.index.nearest_outside_group import nearest_outside_group
from retrieval.keys.embed import embed_store
from retrieval.keys.encoders import KeyEncoder
from storage.arrays import read_array
from storage.artifacts import artifact, read_manifest

ROWS = 2**16  # of a table are an artifact of their own: a kill loses at most these
COLUMNS = ("distances", "ids")

Rows = tuple[np.ndarray, np.ndarray]  # of a table: distances float32 [n, k], ids int64 [n, k]


class KeySource(NamedTuple):
    """What keys are made from: the chunks of a store, their text by its tokenizer, and an encoder."""

    store: TokenStore
    tokenizer: Tokenizer
    encoder: KeyEncoder


def build_training_index(
    root: Path, store: TokenStore, tokenizer: Tokenizer, encoder: KeyEncoder, factory: str = "Flat"
) -> Path:
    """The artifact folder of the index over the chunks of the training documents, built under `root` with the
    keys it needs. factory: a FAISS factory string, or "auto".
    """
    training = training_chunks(store)
    made_of = inputs_of(store, tokenizer, encoder)
    factory = resolved(factory, len(training), encoder.dimension)

    def build(folder: Path) -> None:
        keys = embed_store(root, store, tokenizer, encoder)
        groups_n = chunk_groups(store, np.arange(len(keys)))
        write_index(root, folder, keys, training, groups_n, factory, made_of)

    return artifact(root, "index", made_of | {"factory": factory}, build)


def build_neighbour_table(
    root: Path,
    store: TokenStore,
    tokenizer: Tokenizer,
    encoder: KeyEncoder,
    k: int = 2,
    spare: int = 8,
    factory: str = "Flat",
) -> Path:
    """The artifact folder of the table for `store`, built under `root` with the keys and the index it needs.

    The neighbours of every chunk are found among those of the training documents.
    """
    factory = resolved(factory, len(training_chunks(store)), encoder.dimension)
    made_of = inputs_of(store, tokenizer, encoder) | {"factory": factory}

    def build_table(folder: Path) -> None:
        index = load_index(build_training_index(root, store, tokenizer, encoder, factory), encoder.dimension)
        keys = embed_store(root, store, tokenizer, encoder)
        groups_n = chunk_groups(store, np.arange(len(keys)))

        def rows_of(rows: np.ndarray) -> Rows:
            return nearest_outside_group(index, keys, groups_n, k + spare, rows)

        save_rows(folder, all_rows(root, len(keys), made_of | {"k": k + spare}, rows_of))

    return artifact(root, "neighbours", made_of | {"k": k, "spare": spare}, build_table)


def all_rows(
    root: Path, total: int, made_of: Mapping[str, Any], rows_of: Callable[[np.ndarray], Rows]
) -> Rows:
    """`rows_of` all of `total` chunks; of large tables in blocks that are artifacts under `root`, where
    `made_of` names what the rows depend on.
    """
    if total <= ROWS:
        return rows_of(np.arange(total))
    blocks = []
    for first in range(0, total, ROWS):
        rows = np.arange(first, min(first + ROWS, total))

        def build(folder: Path, rows: np.ndarray = rows) -> None:
            save_rows(folder, rows_of(rows))

        blocks.append(artifact(root, "rows", {**made_of, "rows": ROWS, "first": first}, build))
    distances, ids = (np.concatenate(columns) for columns in zip(*map(read_rows, blocks)))
    return distances, ids


def save_rows(folder: Path, rows: Rows) -> None:
    for name, column in zip(COLUMNS, rows):
        np.save(folder / f"{name}.npy", column)


def read_rows(folder: Path) -> Rows:
    """(distances float32, ids int64) [n, k] that `save_rows` wrote, memory-mapped; InputError where they are
    missing or damaged.
    """
    try:
        distances, ids = (read_array(folder / f"{name}.npy", mapped=True) for name in COLUMNS)
        kinds = distances.dtype == np.float32 and ids.dtype == np.int64
        if not kinds or ids.ndim != 2 or distances.shape != ids.shape:
            raise ValueError(f"{distances.dtype} {distances.shape} beside {ids.dtype} {ids.shape}")
    except (OSError, ValueError) as error:
        raise InputError(
            f"The neighbour table {folder} is missing or damaged ({error}). Remove it and run the command "
            "again to build it anew."
        ) from error
    return distances, ids


def inputs_of(store: TokenStore, tokenizer: Tokenizer, encoder: KeyEncoder) -> dict[str, str]:
    """What keys and neighbours depend on, for the names of artifacts."""
    return {"store": store_hash(store), "tokenizer": tokenizer.hash, encoder.name: encoder.hash}


class NeighbourTable:
    """What `build_neighbour_table` made, memory-mapped, beside the store it was made for.

    Attributes:
        path: its folder, whose name is the hash of what made it.
        ids: int64 [total_chunks, k + spare], global ids of training chunks, nearest first, -1 = missing.
        distances: float32 [total_chunks, k + spare], squared L2, inf = missing.

    Raises:
        InputError: the folder holds no table, or one made for another store.
    """

    def __init__(self, path: Path, store: TokenStore):
        self.path = path = Path(path)
        try:
            made_for = read_manifest(path)["inputs"].get("store")
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path} is not a neighbour table, or a damaged one ({error}). Remove it and run the "
                "command again to build it anew."
            ) from error
        self.distances, self.ids = read_rows(path)
        if made_for != store_hash(store) or len(self.ids) != store.chunk_offsets[-1]:
            raise InputError(
                f"The neighbour table {path} was made for another token store than {store.path}: its "
                "chunk ids mean other text. Build the table for this store."
            )
        self.store = store

    def lookup(
        self, chunks: np.ndarray, k: int, exclude_sequence: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of the k nearest neighbours of every chunk of a batch.

        Args:
            chunks: int64 [B, U] global ids of the chunks of B sequences, -1 = padding.
            exclude_sequence: skip neighbours of a group that occurs anywhere in the same sequence.

        Returns:
            tokens int32 [B, U, k, 128] and mask bool [B, U, k, 128], False where a neighbour or its
            continuation is missing.

        Raises:
            InputError: the table keeps fewer than k neighbours.
        """
        return neighbour_tokens(self.store, self.neighbours(chunks, k, exclude_sequence))

    def neighbours(self, chunks: np.ndarray, k: int, exclude_sequence: bool = True) -> np.ndarray:
        """int64 [B, U, k]: the global ids that `lookup` reads, -1 = missing."""
        if k > self.ids.shape[1]:
            raise InputError(
                f"{k} neighbours were asked for, but the table keeps {self.ids.shape[1]} (k + spare). "
                "Build it with a larger k."
            )
        chunks = np.asarray(chunks)
        ids_buk = np.where(chunks[..., None] < 0, -1, self.ids[np.maximum(chunks, 0)])
        if exclude_sequence:
            sequence_bu = np.where(chunks < 0, -1, chunk_groups(self.store, chunks))
            groups_buk = chunk_groups(self.store, ids_buk)
            own_buk = (groups_buk[..., None] == sequence_bu[:, None, None, :]).any(axis=-1)
            ids_buk = np.where(own_buk, -1, ids_buk)
        first = np.argsort(ids_buk < 0, axis=-1, kind="stable")[..., :k]
        return np.take_along_axis(ids_buk, first, axis=-1)


class NoNeighbours(NeighbourTable):
    """The table of a text that no model retrieves from: no neighbour of any chunk. path: of the store, which
    alone names a trial's data.
    """

    def __init__(self, store: TokenStore):
        self.store, self.path = store, store.path
        num_chunks = int(store.chunk_offsets[-1])
        self.distances = np.empty((num_chunks, 0), np.float32)
        self.ids = np.empty((num_chunks, 0), np.int64)
