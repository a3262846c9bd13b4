"""Which documents a budget takes, decided while they stream by: what it leaves is not kept in memory."""

import itertools
from bisect import bisect_left
from collections.abc import Iterable
from operator import attrgetter, itemgetter
from typing import Any

from data.documents import Document, rank


def within(documents: Iterable[Document], max_bytes: int) -> list[Document]:
    """Those that a budget of `max_bytes` of UTF-8 takes, in the order given: packages take turns, as in
    `data.documents.in_turns`, in giving a whole group, until the next one would exceed it (the first is
    always taken), so that a smaller budget takes a subset of what a larger one takes.

    documents: those of one package follow each other.
    """
    taken = _First(max_bytes)
    numbered = enumerate(documents)
    for package, members in itertools.groupby(numbered, key=lambda member: member[1].package):
        groups = _First(max_bytes)  # of this package alone, and so all that can be taken of it
        for number, document in members:
            groups.add(rank(document.group), len(document.text.encode()), [(number, document)])
        for turn, group in enumerate(groups.entries):
            taken.add((turn, rank(package)), group.size, group.members)
        if groups.bound is not None:
            taken.leave((len(groups.entries), rank(package)))
    kept = itertools.chain.from_iterable(entry.members for entry in taken.entries)
    return [document for _, document in sorted(kept, key=itemgetter(0))]


class _Entry:
    def __init__(self, key: Any):
        self.key, self.size, self.members = key, 0, []


class _First:
    """Of entries that come in any order, those that are first by their keys, until the next one would exceed
    `max_bytes`; one at least. More entries can only push an entry back: what is left once is left for good.

    entries: those, by key. bound: no key from this one on is taken; None where nothing was left.
    """

    def __init__(self, max_bytes: int):
        self.entries: list[_Entry] = []
        self.bound: Any = None
        self._max_bytes, self._total = max_bytes, 0

    def add(self, key: Any, size: int, members: list) -> None:
        """Members of the entry with this key, and their bytes."""
        if self.bound is not None and key >= self.bound:
            return
        at = bisect_left(self.entries, key, key=attrgetter("key"))
        if at == len(self.entries) or self.entries[at].key != key:
            self.entries.insert(at, _Entry(key))
        self.entries[at].size += size
        self.entries[at].members += members
        self._total += size
        while self._total > self._max_bytes and len(self.entries) > 1:
            self._leave_last()

    def leave(self, key: Any) -> None:
        """Nothing from `key` on is to be taken."""
        while self.entries and self.entries[-1].key >= key:
            self._leave_last()
        self.bound = key if self.bound is None else min(self.bound, key)

    def _leave_last(self) -> None:
        entry = self.entries.pop()
        self._total -= entry.size
        self.bound = entry.key
