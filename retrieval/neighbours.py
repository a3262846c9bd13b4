"""The neighbour table: the nearest training chunks of every chunk, computed once, keyed by chunk id.

RETRO must not read what it is about to predict (arXiv 2112.04426, Section 2.2): a neighbour of the query's
own duplicate group, hence of its own document, is removed when the table is built; one whose group occurs
elsewhere in the same training sequence is skipped at lookup. The table keeps `spare` neighbours beyond k to
fill such gaps; what cannot be filled is masked.
"""

import json
from pathlib import Path

import faiss
import numpy as np

from data.artifacts import MANIFEST, artifact
from data.token_store import TokenStore
from data.tokenizers import Tokenizer
from errors import InputError
from retrieval.chunks import chunk_groups, neighbour_tokens, store_hash
from retrieval.embed import embed_store
from retrieval.index import build_index, every_list_searched, load_index, save_index, search
from retrieval.keys import KeyEncoder, Keys

INDEX = "index.faiss"

# How many of the query's own group the first search allows for; where that is too few, it searches again.
OWN_GROUP_ALLOWANCE = 40
QUERY_ROWS, SEARCH_ENTRIES = 4096, 2**22


def build_database(
    root: Path, store: TokenStore, tokenizer: Tokenizer, encoder: KeyEncoder, factory: str = "Flat"
) -> Path:
    """The artifact folder of the index over the chunks of the training documents, built under `root` with the
    keys it needs. Its file is `INDEX`.
    """

    def build(folder: Path) -> None:
        keys_nd = embed_store(root, store, tokenizer, encoder)
        database = np.flatnonzero(~np.repeat(store.is_validation, store.num_chunks))
        save_index(build_index(keys_nd[database], database, factory), folder / INDEX)

    return artifact(root, "index", _inputs(store, tokenizer, encoder, factory), build)


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

    Queries are all chunks, the database is the chunks of the training documents.
    """

    def build_table(folder: Path) -> None:
        index = load_index(build_database(root, store, tokenizer, encoder, factory) / INDEX)
        keys_nd = embed_store(root, store, tokenizer, encoder)
        groups_n = chunk_groups(store, np.arange(len(keys_nd)))
        distances, ids = nearest_outside_group(index, keys_nd, groups_n, k + spare)
        np.save(folder / "ids.npy", ids)
        np.save(folder / "distances.npy", distances)

    inputs = _inputs(store, tokenizer, encoder, factory)
    return artifact(root, "neighbours", inputs | {"k": k, "spare": spare}, build_table)


def _inputs(store, tokenizer, encoder, factory) -> dict[str, str]:
    return {
        "store": store_hash(store),
        "tokenizer": tokenizer.hash,
        encoder.name: encoder.hash,
        "factory": factory,
    }


def nearest_outside_group(
    index: faiss.Index, keys: np.ndarray | Keys, groups: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest entries of `index` of another group, for every chunk.

    Args:
        keys: float32 [n, d] by chunk id, of which `index` holds some.
        groups: int64 [n] by chunk id.

    Returns:
        (distances float32 [n, k], ids int64 [n, k]) sorted by distance, then id. inf and -1 stand only
        where the database holds no more chunks of other groups.
    """
    distances = np.full([len(keys), k], np.inf, np.float32)
    ids = np.full([len(keys), k], -1, np.int64)

    def fill(rows: np.ndarray, allowance: np.ndarray) -> None:
        """Searches so far that `allowance` (descending) hits of a row's own group may be thrown away."""
        start = 0
        while start < len(rows):
            width = k + int(allowance[start])
            batch = rows[start : start + max(1, min(QUERY_ROWS, SEARCH_ENTRIES // width))]
            distances[batch], ids[batch] = search_outside_group(index, keys, groups, batch, width, k)
            start += len(batch)

    fill(np.arange(len(keys)), np.full(len(keys), OWN_GROUP_ALLOWANCE))
    _, group_of, group_sizes = np.unique(groups, return_inverse=True, return_counts=True)
    own_size = group_sizes[group_of]
    short = np.flatnonzero(ids[:, -1] < 0)
    short = short[np.argsort(-own_size[short], kind="stable")]
    with every_list_searched(index):
        fill(short, own_size[short])
    return distances, ids


def search_outside_group(
    index: faiss.Index, keys: np.ndarray | Keys, groups: np.ndarray, rows: np.ndarray, width: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first k of each row's `width` nearest that are of another group: [len(rows), k] twice."""
    _, found = search(index, keys[rows], width)
    found = np.where(groups[found] == groups[rows, None], -1, found)
    first = np.argsort(found < 0, axis=1, kind="stable")[:, :k]
    ids = np.take_along_axis(found, first, axis=1)
    # FAISS's batched distances are rounded differently with the batch, and an index may hold codes for keys.
    difference_rkd = keys[ids] - keys[rows][:, None]
    squared_rk = np.einsum("rkd,rkd->rk", difference_rkd, difference_rkd)
    distances = np.where(ids < 0, np.float32(np.inf), squared_rk)
    order = np.lexsort((ids, distances), axis=1)
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(ids, order, axis=1)


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
            made_for = json.loads((path / MANIFEST).read_bytes())["inputs"]["store"]
            self.ids = np.load(path / "ids.npy", mmap_mode="r", allow_pickle=False)
            self.distances = np.load(path / "distances.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{path} is not a neighbour table, or a damaged one ({error}). Remove it and run the "
                "command again to build it anew."
            ) from error
        if made_for != store_hash(store):
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
