"""The evaluated documents, and the groups that they belong to.

What is drawn by chance is no document but a group: a package of a library, whose modules resemble each other
and of which a docstring may stand in two documents, or an article. Suffixes: d document, g group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Documents:
    """Documents by group.

    Attributes:
        members_dg: float64 [D, G], 1 where a document is of a group; a row of zeros for one that is left out.
        bytes_g: float64 [G], UTF-8 bytes of every group.
        names: of the G groups, rising.
    """

    members_dg: np.ndarray
    bytes_g: np.ndarray
    names: tuple[str, ...]

    def sums(self, values: np.ndarray) -> np.ndarray:
        """[..., D] → [..., G]: sums over the documents of every group."""
        return np.asarray(values, np.float64) @ self.members_dg


def documents_by_group(bytes_d: Sequence[float], names_d: Sequence[str] | np.ndarray) -> Documents:
    """Documents of `bytes_d` [D] UTF-8 bytes, each in the group of its name."""
    names, group_d = np.unique(np.asarray(names_d, str), return_inverse=True)
    members_dg = np.eye(len(names))[group_d]
    return Documents(members_dg, np.asarray(bytes_d, np.float64) @ members_dg, tuple(names.tolist()))


def documents_of(results: Mapping[str, Any], inside_d: np.ndarray | None = None) -> Documents:
    """The documents of a study's file, or those that are `inside_d` (bool [D]) alone."""
    bytes_d, names_d = document_bytes(results), groups_of(results)
    if inside_d is None:
        return documents_by_group(bytes_d, names_d)
    found = documents_by_group(bytes_d[inside_d], np.array(names_d)[inside_d])
    members_dg = np.zeros((len(bytes_d), len(found.names)))
    members_dg[inside_d] = found.members_dg
    return Documents(members_dg, found.bytes_g, found.names)


def document_bytes(results: Mapping) -> np.ndarray:
    """float64 [D]: UTF-8 bytes of every evaluated document."""
    return np.array([document["bytes"] for document in results["documents"]], np.float64)


def apart(results: Mapping) -> np.ndarray:
    """bool [D]: the documents without near-duplicates in the training text."""
    shared_d = np.array([document["shared_ngrams"] for document in results["documents"]])
    return shared_d < results["corpus"]["near_duplicate_threshold"]


def groups_of(results: Mapping) -> tuple[str, ...]:
    """The group of each of the D documents. Files that name none are older: there it is the top-level package
    of a module of the standard library (`email` of `email.iterators.__doc__`, `pydoc_data` of
    `pydoc_data.topics:naming`), and every source of its own of any other text.
    """
    library = results["config"].get("corpus") == "stdlib"

    def group(document):
        source = document["source"]
        return document.get("group") or (source.partition(":")[0].partition(".")[0] if library else source)

    return tuple(group(document) for document in results["documents"])
