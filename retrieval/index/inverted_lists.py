"""An index with inverted lists, built beyond memory: trained on a sample, filled in shards, merged on disk.

Every stage is an artifact: a build that is killed redoes only what is unfinished, and ends with the same
bytes. Shape suffixes: n keys, d their dimension.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from errors import InputError
from retrieval.index.index import (
    INDEX,
    LISTS,
    inverted_file,
    load_index,
    make_index,
    one_thread,
    reason,
    rows_of,
    save_index,
)
from retrieval.index.keys import Keys
from storage.artifacts import artifact

SHARD = 2**16  # chunks
POINTS_PER_LIST = 64  # k-means gains little beyond; FAISS asks for at least 39 and takes at most 256
MINIMUM_SAMPLE = 2**14  # of an index of few lists: codes and rotations are trained on as many
OPQ_ROUNDS, OPQ_POINTS = 10, MINIMUM_SAMPLE
MERGED_AT_ONCE = 2**25  # bytes


def can_be_merged(index: faiss.Index) -> bool:
    """Whether its inverted lists are plain codes and ids, which can be written one list after another."""
    ivf = inverted_file(index)
    plain = (faiss.IndexIVFFlat, faiss.IndexIVFPQ, faiss.IndexIVFScalarQuantizer)
    if ivf is None or type(ivf) not in plain:
        return False
    return isinstance(index, (faiss.IndexPreTransform, type(ivf)))


def build_lists(
    root: Path, folder: Path, keys: Keys, ids: np.ndarray, factory: str, made_of: Mapping[str, Any]
) -> faiss.Index:
    """Writes the merged lists of the keys of `ids` into `folder`, and returns the index over them, which the
    caller saves there.

    Raises:
        InputError: too few keys for what the factory string asks for.
    """
    trained = trained_index(root, keys, ids, factory, made_of)
    shards = [
        filled_shard(root, trained, keys, ids, first, factory, made_of) for first in range(0, len(ids), SHARD)
    ]
    sizes = merge(shards, folder / LISTS)
    index = load_index(trained)
    ivf = inverted_file(index)
    lists = faiss.OnDiskInvertedLists(ivf.nlist, ivf.code_size, LISTS)
    lists.set_all_lists_sizes(faiss.swig_ptr(sizes))
    lists.totsize = int(sizes.sum()) * (ivf.code_size + 8)
    ivf.replace_invlists(lists, True)
    lists.this.disown()
    index.ntotal = ivf.ntotal = len(ids)
    return index


def trained_index(root: Path, keys: Keys, ids: np.ndarray, factory: str, made_of: Mapping[str, Any]) -> Path:
    """The artifact folder of the empty index, trained on a sample that depends on their number alone."""

    def build(folder: Path) -> None:
        index = make_index(factory, keys.shape[1])
        nlist = inverted_file(index).nlist
        if len(ids) < nlist:
            raise too_few(factory, keys.shape[1], len(ids), f"it has {nlist} lists, each of which needs one")
        try:
            train(index, rows_of(keys, ids[sampled_rows(len(ids), nlist)]))
        except RuntimeError as error:
            raise too_few(factory, keys.shape[1], len(ids), reason(error)) from error
        save_index(index, folder / INDEX)

    return artifact(root, "trained", {**made_of, "factory": factory}, build)


def sampled_rows(n: int, nlist: int) -> np.ndarray:
    """int64, ascending: the rows of n that an index of so many lists is trained on."""
    size = min(n, max(nlist * POINTS_PER_LIST, MINIMUM_SAMPLE))
    return np.sort(np.random.default_rng(0).choice(n, size, replace=False))


def too_few(factory: str, dimension: int, n: int, why: str) -> InputError:
    return InputError(
        f"The index {factory!r} cannot be trained on {n} vectors of {dimension} numbers ({why}). Use 'auto', "
        "'Flat', fewer lists in the factory string, or a larger corpus."
    )


def train(index: faiss.Index, sample_nd: np.ndarray) -> None:
    """Trains what `can_be_merged` admits, with the same bytes each time."""
    for transform in transforms(index):
        if isinstance(transform, faiss.OPQMatrix):
            # With FAISS's own 50 rounds on 65,536 points, a core would need half an hour for keys of MiniLM.
            transform.niter, transform.max_train_points = OPQ_ROUNDS, OPQ_POINTS
        if not transform.is_trained:
            transform.train(sample_nd)
        sample_nd = transform.apply(sample_nd)
    ivf = inverted_file(index)
    quantizer = faiss.downcast_index(ivf.quantizer)
    if isinstance(quantizer, faiss.IndexHNSW):
        # A graph that several threads build depends on their timing.
        clustering = faiss.Clustering(ivf.d, ivf.nlist, ivf.cp)
        clustering.train(sample_nd, faiss.IndexFlatL2(ivf.d))
        with one_thread():
            quantizer.add(faiss.vector_to_array(clustering.centroids).reshape(ivf.nlist, ivf.d))
    if isinstance(ivf, faiss.IndexIVFPQ):
        ivf.pq.cp.max_points_per_centroid = POINTS_PER_LIST
    ivf.train(sample_nd)
    index.is_trained = True


def transforms(index: faiss.Index) -> list[faiss.VectorTransform]:
    """What is done to vectors before the inverted lists see them."""
    if not isinstance(index, faiss.IndexPreTransform):
        return []
    return [faiss.downcast_VectorTransform(index.chain.at(i)) for i in range(index.chain.size())]


def transformed(index: faiss.Index, keys_nd: np.ndarray) -> np.ndarray:
    for transform in transforms(index):
        keys_nd = transform.apply(keys_nd)
    return keys_nd


def filled_shard(
    root: Path, trained: Path, keys: Keys, ids: np.ndarray, first: int, factory: str,
    made_of: Mapping[str, Any],
) -> Path:  # fmt: skip
    """The artifact folder of the codes of ids[first : first + SHARD], sorted by list:
    codes uint8 [n, code_size], ids int64 [n], sizes uint64 [nlist].
    """

    def build(folder: Path) -> None:
        index = load_index(trained)
        ivf = inverted_file(index)
        shard = np.ascontiguousarray(ids[first : first + SHARD], np.int64)
        keys_nd = transformed(index, rows_of(keys, shard))
        lists_n = ivf.quantizer.search(keys_nd, 1)[1][:, 0]
        codes = np.empty([len(shard), ivf.code_size], np.uint8)
        ivf.encode_vectors(len(shard), *map(faiss.swig_ptr, (keys_nd, lists_n, codes)))
        order = np.argsort(lists_n, kind="stable")
        np.save(folder / "codes.npy", codes[order])
        np.save(folder / "ids.npy", shard[order])
        np.save(folder / "sizes.npy", np.bincount(lists_n, minlength=ivf.nlist).astype(np.uint64))

    inputs = {**made_of, "factory": factory, "shard": SHARD, "first": first}
    return artifact(root, "filled", inputs, build)


def merge(shards: Sequence[Path], path: Path) -> np.ndarray:
    """Writes the lists of all shards in the layout of FAISS's OnDiskInvertedLists: of every list the codes,
    then the ids. Returns uint64 [nlist], their sizes.

    `faiss.contrib.ondisk` writes through a memory map, where a full disk kills the process.
    """
    codes, ids, sizes = (
        [np.load(shard / f"{name}.npy", mmap_mode="r", allow_pickle=False) for shard in shards]
        for name in ("codes", "ids", "sizes")
    )
    bounds = [np.concatenate([[0], np.cumsum(size, dtype=np.int64)]) for size in sizes]
    with open(path, "wb", buffering=MERGED_AT_ONCE) as file:
        for number in range(len(sizes[0])):
            for columns in (codes, ids):
                for column, bound in zip(columns, bounds):
                    file.write(column[bound[number] : bound[number + 1]].tobytes())
    return np.sum(sizes, axis=0, dtype=np.uint64)
