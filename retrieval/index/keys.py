"""Keys: what chunks are found by, float32 [n, d] by chunk id, in memory or in files.

Shape suffixes: n chunks, d dimension of a key.
"""

import bisect
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from errors import InputError
from storage.arrays import read_array


class StoredKeys:
    """float32 [n, d] by chunk id, on disk: the rows of several `.npy` files, one after another.

    `keys[ids]` (integers of any shape, negative ones counting from the end), `keys[a:b]` and `keys[mask]` are
    copies. A file is mapped only while it is read, so what has been read does not stay in memory.

    Raises:
        InputError: a file is missing, damaged, or holds anything else.
    """

    def __init__(self, paths: Sequence[Path], dimension: int):
        self.paths = tuple(Path(path) for path in paths)
        self._dimension = dimension
        self._bounds = [0]
        for path in self.paths:
            self._bounds.append(self._bounds[-1] + len(self._mapped(path)))

    @property
    def shape(self) -> tuple[int, int]:
        return self._bounds[-1], self._dimension

    def __len__(self) -> int:
        return self._bounds[-1]

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        if isinstance(which, slice):
            first, last, step = which.indices(len(self))
            if step == 1:
                return self._rows_between(first, max(first, last))
            which = np.arange(first, last, step)
        ids = np.asarray(which)
        if ids.dtype == bool:
            if ids.shape != (len(self),):
                raise IndexError(f"a mask of shape {ids.shape} for {len(self)} keys")
            ids = np.flatnonzero(ids)
        return self._rows(ids if ids.size else ids.astype(np.int64))

    def _rows_between(self, first: int, last: int) -> np.ndarray:
        keys_nd = np.empty([last - first, self._dimension], np.float32)
        shard, at = bisect.bisect_right(self._bounds, first) - 1, first
        while at < last:
            start, end = self._bounds[shard], min(last, self._bounds[shard + 1])
            if at < end:
                keys_nd[at - first : end - first] = self._mapped(self.paths[shard])[at - start : end - start]
            shard, at = shard + 1, end
        return keys_nd

    def _rows(self, ids: np.ndarray) -> np.ndarray:
        wrapped = np.where(ids < 0, ids + len(self), ids).ravel()
        if len(wrapped) and not (0 <= wrapped.min() and wrapped.max() < len(self)):
            raise IndexError(f"ids from {ids.min()} to {ids.max()} for {len(self)} keys")
        keys_nd = np.empty([len(wrapped), self._dimension], np.float32)
        shards = np.searchsorted(self._bounds, wrapped, side="right") - 1
        order = np.argsort(shards, kind="stable")
        present, starts = np.unique(shards[order], return_index=True)
        for shard, rows in zip(present, np.split(order, starts[1:])):
            keys_nd[rows] = self._mapped(self.paths[shard])[wrapped[rows] - self._bounds[shard]]
        return keys_nd.reshape(*ids.shape, self._dimension)

    def _mapped(self, path: Path) -> np.ndarray:
        try:
            shard = read_array(path, mapped=True)
        except (OSError, ValueError) as error:
            raise InputError(
                f"The keys {path} are missing or damaged ({error}). Run the command that made them again: "
                "only what is missing is made anew."
            ) from error
        if shard.dtype != np.float32 or shard.shape[1:] != (self._dimension,):
            raise InputError(
                f"{path} holds {shard.dtype} {list(shard.shape)} where keys, float32 [n, {self._dimension}], "
                "are due: it is not of this encoder. Remove its folder and run the command again."
            )
        return shard


Keys = np.ndarray | StoredKeys
