"""Nearest keys by squared L2 distance: a FAISS index by factory string that answers with chunk ids."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np

from errors import InputError

# Exact search goes through BLAS, whose threads fight OpenMP's for the cores of a wide machine.
faiss.omp_set_num_threads(min(16, faiss.omp_get_max_threads()))


def build_index(
    embeddings: np.ndarray, ids: np.ndarray, factory: str = "Flat", nprobe: int = 16
) -> faiss.IndexIDMap2:
    """An index of `embeddings` [n, d] float32 under `ids` [n] int64.

    Args:
        factory: a FAISS factory string: "Flat" is exact, "IVF64,Flat" scans the `nprobe` nearest of 64 lists.

    Raises:
        InputError: FAISS does not know the string, or n vectors are too few for what it asks for.
    """
    n, d = embeddings.shape
    embeddings = np.ascontiguousarray(embeddings, np.float32)
    try:
        index = faiss.index_factory(d, factory, faiss.METRIC_L2)
    except RuntimeError as error:
        raise InputError(
            f"FAISS cannot make the index {factory!r} for vectors of {d} numbers ({reason(error)}). "
            "Use 'Flat', or a factory string such as 'IVF64,Flat'."
        ) from error
    if not index.is_trained:
        try:
            index.train(embeddings)
        except RuntimeError as error:
            raise InputError(
                f"The index {factory!r} cannot be trained on {n} vectors of {d} numbers ({reason(error)}). "
                "Use 'Flat', fewer lists in the factory string, or a larger corpus."
            ) from error
    if (ivf := faiss.try_extract_index_ivf(index)) is not None:
        ivf.nprobe = min(nprobe, ivf.nlist)
    index = faiss.IndexIDMap2(index)
    index.add_with_ids(embeddings, np.ascontiguousarray(ids, np.int64))
    return index


def search(index: faiss.Index, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(distances float32 [n, k], ids int64 [n, k]), nearest first; inf and -1 where fewer are found."""
    distances, ids = index.search(np.ascontiguousarray(queries, np.float32), k)
    return np.where(ids < 0, np.float32(np.inf), distances), ids


@contextmanager
def every_list_searched(index: faiss.Index) -> Iterator[None]:
    """Inside, an IVF index scans all of its lists; any other index is as it was."""
    if (ivf := faiss.try_extract_index_ivf(index)) is None:
        yield
        return
    nprobe, ivf.nprobe = ivf.nprobe, ivf.nlist
    try:
        yield
    finally:
        ivf.nprobe = nprobe


def save_index(index: faiss.Index, path: Path) -> None:
    """Writes an index so that its file is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        faiss.write_index(index, str(temporary))
        os.replace(temporary, path)
    except RuntimeError as error:
        if "No space left" in str(error):  # FAISS hides the errno that callers explain a full disk by
            raise OSError(errno.ENOSPC, reason(error), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def load_index(path: Path) -> faiss.Index:
    """The index that `save_index` wrote; InputError names a file that is missing, truncated or foreign."""
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise InputError(
            f"{path} is not a readable FAISS index ({reason(error)}). Remove the folder that holds it and "
            "run the command again to build it anew."
        ) from error


def reason(error: RuntimeError) -> str:
    """What FAISS says is wrong, without the C++ function and line it says it in."""
    return str(error).rsplit("Error: ", 1)[-1].strip()
