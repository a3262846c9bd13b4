"""Nearest keys by squared L2 distance: a FAISS index that answers with chunk ids, read and searched.

`retrieval.index.build` makes indexes. Shape suffixes: n keys, d their dimension, q queries, k results, c
candidates.
"""

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import faiss
import numpy as np

from errors import InputError
from retrieval.index.factory import require_supported
from retrieval.index.keys import Keys
from storage.files import is_disk_full, no_link, replacing

INDEX, LISTS = "index.faiss", "lists.bin"
BLOCK = 2**16  # keys that exact search holds at once
GATHERED = 2**24  # numbers of candidates' keys that re-ranking holds at once

# Exact search goes through BLAS, whose threads fight OpenMP's for the cores of a wide machine.
faiss.omp_set_num_threads(min(16, faiss.omp_get_max_threads()))


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, FAISS and its BLAS use one thread."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def make_index(factory: str, dimension: int) -> faiss.Index:
    """An empty index by a FAISS factory string; InputError where there is none such for these vectors."""
    require_supported(factory, dimension)
    try:
        return faiss.index_factory(dimension, factory, faiss.METRIC_L2)
    except RuntimeError as error:
        raise InputError(
            f"FAISS cannot make the index {factory!r} for vectors of {dimension} numbers ({reason(error)}). "
            "Use 'auto', 'Flat', or a factory string such as 'IVF64,Flat'."
        ) from error


def inverted_file(index: faiss.Index) -> faiss.IndexIVF | None:
    """The part of an index that has inverted lists, as its own class; None where there is none."""
    ivf = faiss.try_extract_index_ivf(index)
    return None if ivf is None else faiss.downcast_index(ivf)


def search(
    index: faiss.Index,
    queries_qd: np.ndarray,
    k: int,
    excluded: np.ndarray | None = None,
    nprobe: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest by the index's own distances, which are approximate where it holds codes.

    Args:
        excluded: int64 ids that are never returned; others take their places.
        nprobe: how many inverted lists are scanned, where the index has any; what it was built with if None.
            More are scanned where those hold fewer than k.

    Returns:
        (distances float32 [q, k], ids int64 [q, k]), nearest first; inf and -1 where the index holds fewer.
    """
    with probing(index, nprobe):
        distances, ids = search_lists(index, queries_qd, k, excluded)
    short = np.flatnonzero(ids[:, -1] < 0)
    if len(short) and inverted_file(index) is not None:
        with every_list_searched(index):
            distances[short], ids[short] = search_lists(index, queries_qd[short], k, excluded)
    return distances, ids


def search_lists(
    index: faiss.Index, queries_qd: np.ndarray, k: int, excluded: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`search` in nprobe lists and no more: inf and -1 where those hold fewer than k."""
    queries_qd = np.ascontiguousarray(queries_qd, np.float32)
    excluded = np.unique(np.asarray([] if excluded is None else excluded, np.int64))
    if not len(excluded):
        distances, ids = index.search(queries_qd, k)
    elif (parameters := _leaving_out(index, excluded)) is not None:
        distances, ids = index.search(queries_qd, k, params=parameters)
    else:  # this type cannot leave ids out while it searches
        distances, ids = index.search(queries_qd, min(k + len(excluded), max(k, index.ntotal)))
        ids = np.where(np.isin(ids, excluded), -1, ids)
        first = np.argsort(ids < 0, axis=1, kind="stable")[:, :k]
        distances, ids = (np.take_along_axis(array, first, axis=1) for array in (distances, ids))
    return np.where(ids < 0, np.float32(np.inf), distances), ids


def _leaving_out(index: faiss.Index, excluded: np.ndarray) -> faiss.SearchParameters | None:
    """What makes FAISS skip ids in its inner loop, where the type of index can."""
    selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(excluded))
    if isinstance(index, faiss.IndexPreTransform):
        lists = faiss.downcast_index(index.index)
        if isinstance(lists, faiss.IndexIVF):
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=lists.nprobe)
            return faiss.SearchParametersPreTransform(index_params=parameters)
    # An IDMap translates ids for the index right below it, and for none that is deeper.
    inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap) else index
    if isinstance(inner, faiss.IndexIVF):
        return faiss.SearchParametersIVF(sel=selector, nprobe=inner.nprobe)
    return faiss.SearchParameters(sel=selector) if isinstance(inner, faiss.IndexFlat) else None


def holds_keys(index: faiss.Index) -> bool:
    """Whether the index holds keys themselves, not codes: the order that it finds is right up to rounding."""
    inner = inverted_file(index)
    if inner is None:
        inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap) else index
    return isinstance(inner, (faiss.IndexFlat, faiss.IndexIVFFlat))


@contextmanager
def probing(index: faiss.Index, nprobe: int | None) -> Iterator[None]:
    """Inside, an index with inverted lists scans `nprobe` of them; None and other indexes: as it was."""
    ivf = inverted_file(index)
    if ivf is None or nprobe is None:
        yield
        return
    before, ivf.nprobe = ivf.nprobe, min(nprobe, ivf.nlist)
    try:
        yield
    finally:
        ivf.nprobe = before


def every_list_searched(index: faiss.Index) -> AbstractContextManager[None]:
    """Inside, an index with inverted lists scans all of them; any other index is as it was."""
    ivf = inverted_file(index)
    return probing(index, None if ivf is None else ivf.nlist)


def exact_search(
    keys: Keys, ids: np.ndarray, queries_qd: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of the keys of `ids` by brute force, in blocks: as many keys as the disk holds.

    Args:
        ids: int64, chunks whose keys are searched.

    Returns:
        (distances float32 [q, k], ids int64 [q, k]) by distance, then id; inf and -1 where there are fewer.
    """
    queries_qd = np.ascontiguousarray(queries_qd, np.float32)
    # Distances by matrix products are rounded: a few more are kept until they are computed properly.
    heap = faiss.ResultHeap(len(queries_qd), k + 8)
    for start in range(0, len(ids), BLOCK):
        block = np.asarray(ids[start : start + BLOCK], np.int64)
        width = min(k + 8, len(block))
        distances, rows = faiss.knn(queries_qd, rows_of(keys, block), width)
        heap.add_result(distances, block[rows])
    heap.finalize()
    return reranked(keys, queries_qd, np.where(heap.D < np.finfo(np.float32).max, heap.I, -1), k)


def rows_of(keys: Keys, ids: np.ndarray) -> np.ndarray:
    """float32 [len(ids), d], contiguous; consecutive ids are read as one piece."""
    if len(ids) and ids[-1] - ids[0] == len(ids) - 1 and (np.diff(ids) == 1).all():
        return np.ascontiguousarray(keys[int(ids[0]) : int(ids[-1]) + 1], np.float32)
    return np.ascontiguousarray(keys[ids], np.float32)


def reranked(keys: Keys, queries_qd: np.ndarray, ids_qc: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of each query's candidates by the keys themselves.

    Args:
        ids_qc: int64, -1 = missing.

    Returns:
        (distances float32 [q, k], ids int64 [q, k]) by distance, then id; inf and -1 where there are fewer.
    """
    q, candidates = ids_qc.shape
    distances_qc = np.empty([q, candidates], np.float32)
    step = max(1, GATHERED // max(1, candidates * queries_qd.shape[1]))
    for start in range(0, q, step):
        rows = slice(start, start + step)
        difference = keys[np.maximum(ids_qc[rows], 0)] - queries_qd[rows, None]
        distances_qc[rows] = np.einsum("qcd,qcd->qc", difference, difference)
    distances_qc[ids_qc < 0] = np.inf
    return nearest_first(distances_qc, ids_qc, k)


def nearest_first(distances_qc: np.ndarray, ids_qc: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(distances, ids) [q, k]: the first k by distance, then id; inf and -1 where there are fewer."""
    order = np.lexsort((ids_qc, distances_qc), axis=1)[:, :k]
    distances_qk, ids_qk = (np.take_along_axis(array, order, axis=1) for array in (distances_qc, ids_qc))
    missing = ((0, 0), (0, k - order.shape[1]))
    return (
        np.pad(distances_qk, missing, constant_values=np.inf),
        np.pad(ids_qk, missing, constant_values=-1),
    )


def save_index(index: faiss.Index, path: Path) -> None:
    """Writes an index so that its file is there whole or not at all."""
    try:
        with replacing(path) as temporary:
            faiss.write_index(index, str(temporary))
    except RuntimeError as error:
        if is_disk_full(error):  # FAISS hides the errno that callers explain a full disk by
            raise OSError(errno.ENOSPC, reason(error), str(path)) from error
        raise


def load_index(path: Path, dimension: int | None = None) -> faiss.Index:
    """The index in a folder that `build_index` made, or in its file; inverted lists stay on disk.

    Raises:
        InputError: it is missing, truncated, foreign, or made for keys of another dimension than given.
    """
    path = Path(path)
    path = path / INDEX if path.is_dir() else path
    lists = path.with_name(LISTS)
    try:
        # FAISS would look for the lists where the index says, be it anywhere: they are mapped below, once
        # their size is known to be right, since reading past the end of a mapped file kills the process.
        flag = faiss.IO_FLAG_SKIP_IVF_DATA if lists.exists() else faiss.IO_FLAG_ONDISK_SAME_DIR
        index = faiss.read_index(str(no_link(path)), flag)
        if (ivf := inverted_file(index)) is not None:
            _map_lists(faiss.downcast_InvertedLists(ivf.invlists), lists)
    except (OSError, RuntimeError, MemoryError) as error:
        raise InputError(
            f"{path} is not a readable FAISS index ({reason(error)}). Remove the folder that holds it and "
            "run the command again to build it anew."
        ) from error
    if dimension is not None and index.d != dimension:
        raise InputError(
            f"The index {path} is of keys of {index.d} numbers, and those given have {dimension}: they come "
            "from different encoders. Use the encoder that the index was built with, or build it anew."
        )
    return index


def _map_lists(lists: faiss.InvertedLists, path: Path) -> None:
    if not isinstance(lists, faiss.OnDiskInvertedLists):
        return
    size = no_link(path).stat().st_size if path.exists() else 0
    if size != lists.totsize:
        raise RuntimeError(f"{path.name} beside it has {size:,} bytes where {lists.totsize:,} are due")
    lists.filename, lists.read_only = str(path), True
    if size:
        lists.do_mmap()


def reason(error: Exception) -> str:
    """What FAISS says is wrong, without the C++ function and line it says it in."""
    return str(error).rsplit("Error: ", 1)[-1].strip()
