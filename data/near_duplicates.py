"""Which of many sets are similar, without comparing each with each: a join by prefixes (Bayardo, Ma and
Srikant, "Scaling up all pairs similarity search", 2007).

Two sets x and y with |x| <= |y| and a Jaccard similarity of t or more have t |y| or more elements in common,
and 2t/(1+t) |x| or more. So, with all elements in one order, one of the first |y| - t |y| + 1 of y is among
the first |x| - 2t/(1+t) |x| + 1 of x: where none is, the two need not be compared. The rarest elements come
first. Records made from a template have its text in common and differ in what is rare, and so are hardly ever
compared in vain; by MinHash, which does not ask how rare an element is, each is a candidate for nearly every
other.
"""

import math
from array import array
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

BATCH, GROWTH = 16, 16


def merge_similar(
    sets: DisjointSet,
    names: Sequence[int],
    elements: Sequence[np.ndarray],
    threshold: float,
    progress: Callable[[int], object],
) -> None:
    """Merges in `sets` whatever has elements with a Jaccard similarity of `threshold` or more.

    Args:
        elements: of each name, rising, none twice, at least one.
        progress: called with 1 for each name.
    """
    shared = _Shared(elements, threshold)
    index: dict[int, dict[int, array]] = {}  # element -> root in `sets` -> those that have it in their prefix
    for i in np.argsort(shared.sizes, kind="stable").tolist():
        looked_up, kept = shared.prefixes(i)
        members_of: dict[int, list[array]] = {}
        for element in looked_up:
            for root, members in _by_root(sets, index.get(element, {})).items():
                members_of.setdefault(root, []).append(members)
        for root, lists in members_of.items():
            if not sets.connected(names[i], root):
                if any(shared.any_similar(i, batch) for batch in _batches(lists)):
                    sets.merge(names[i], root)
        for element in kept:
            index.setdefault(element, {}).setdefault(sets[names[i]], array("q")).append(i)
        progress(1)


def _by_root(sets: DisjointSet, members_of: dict[int, array]) -> dict[int, array]:
    """The same dictionary, with those together that were merged since."""
    for root in [root for root in members_of if sets[root] != root]:
        members = members_of.pop(root)
        members_of.setdefault(sets[root], array("q")).extend(members)
    return members_of


def _batches(lists: list[array]) -> Iterator[np.ndarray]:
    """One of them, which among near duplicates is mostly enough, then all in growing batches."""
    yield np.array(lists[0][-1:])
    every = np.unique(np.concatenate([np.frombuffer(members, np.int64) for members in lists]))
    start, size = 0, BATCH
    while start < len(every):
        yield every[start : start + size]
        start, size = start + size, size * GROWTH


class _Shared:
    """Of each set the elements that others have too, as numbers, the rarest first. Those that it alone has
    come before these in its order, and need no number: by them nothing is found.

    sizes: int64 [sets], of all elements.
    """

    def __init__(self, elements: Sequence[np.ndarray], threshold: float):
        self._threshold = threshold
        self.sizes = np.array([len(own) for own in elements], np.int64)
        values, counts = np.unique(np.concatenate([np.zeros(0, np.uint64), *elements]), return_counts=True)
        values, counts = values[counts > 1], counts[counts > 1]
        numbers = np.empty(len(values), np.int32)
        numbers[np.argsort(counts, kind="stable")] = np.arange(len(values))
        own = [np.sort(numbers[_places(some, values)]) for some in elements]
        self._flat = np.concatenate([np.zeros(0, np.int32), *own])
        self._lengths = np.array([len(some) for some in own], np.int64)
        self._offsets = np.concatenate([[0], np.cumsum(self._lengths)])
        self._marked = np.zeros(len(values), bool)

    def _of(self, i: int) -> np.ndarray:
        return self._flat[self._offsets[i] : self._offsets[i + 1]]

    def prefixes(self, i: int) -> tuple[list[int], list[int]]:
        """(what to look up, what to be found by): elements among the first ones of set i."""
        size, own, t = int(self.sizes[i]), self._of(i), self._threshold
        alone = size - len(own)
        looked_up, kept = (
            own[: max(0, size - math.ceil(share * size - 1e-6) + 1 - alone)].tolist()
            for share in (t, 2 * t / (1 + t))
        )
        return looked_up, kept

    def any_similar(self, i: int, others: np.ndarray) -> bool:
        """Whether set i has a similarity of the threshold or more with one of `others` [sets], which all have
        an element in common with it.
        """
        needed = self._threshold / (1 + self._threshold) * (self.sizes[i] + self.sizes[others]) - 1e-6
        others = others[np.minimum(self._lengths[i], self._lengths[others]) >= needed]
        if not len(others):
            return False
        lengths = self._lengths[others]
        bounds = np.cumsum(lengths) - lengths
        within = np.arange(lengths.sum()) - np.repeat(bounds, lengths)
        self._marked[self._of(i)] = True
        marked = self._marked[self._flat[np.repeat(self._offsets[others], lengths) + within]]
        self._marked[self._of(i)] = False
        common = np.add.reduceat(marked, bounds, dtype=np.int64)
        return bool((common / (self.sizes[i] + self.sizes[others] - common) >= self._threshold).any())


def _places(some: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Where in `values` those of `some` are that are there at all; both rise."""
    places = np.searchsorted(values, some)
    there = places < len(values)
    there[there] = values[places[there]] == some[there]
    return places[there]
