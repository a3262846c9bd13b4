"""Which documents are held out: whole packages, or whole groups of near duplicates."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.documents import Document, rank
from errors import InputError


def split_by_package(documents: Sequence[Document], validation_fraction: float) -> np.ndarray:
    """bool [D], True for validation: a share of the packages, so that what is held out is independent of what
    is trained on.

    A package is held out when the hash of its name lies below the fraction, so that it stays on its side
    whatever else the corpus holds. Only where all lie on one side, the nearest one moves to the other.

    Raises:
        InputError: the documents are of fewer than two packages, so that one side would be empty.
    """
    positions = {d.package: _unit_interval(rank(d.package)) for d in documents}
    if len(positions) < 2:
        raise InputError(
            "The corpus cannot be split into training and validation: all that was taken of it is of one "
            f"package or file, {', '.join(positions)}. Give a corpus of at least two, or --held-out document."
        )
    held_out = _lowest(positions, validation_fraction)
    return np.array([d.package in held_out for d in documents])


def split(documents: Sequence[Document], groups: np.ndarray, validation_fraction: float) -> np.ndarray:
    """bool [D], True for validation: a share of the groups of near duplicates.

    A group is held out when the hash of its content lies below the fraction, as in `split_by_package`.

    Raises:
        InputError: the documents form fewer than two groups, so that one side would be empty.
    """
    smallest = {}
    for document, group in zip(documents, groups):
        content = hashlib.sha256(document.text.encode()).digest()
        smallest[group] = min(smallest.get(group, content), content)
    positions = {group: _unit_interval(content) for group, content in smallest.items()}
    if len(positions) < 2:
        raise InputError(
            "The corpus cannot be split into training and validation: all that was taken of it is one "
            f"document, {', '.join(d.source for d in documents[:1])}, or near duplicates of it. Give a "
            "corpus of at least two different documents."
        )
    return np.isin(groups, list(_lowest(positions, validation_fraction)))


def _lowest(positions: Mapping[Any, float], fraction: float) -> set:
    """Those that lie below `fraction`: one at least, and not all."""
    ordered = sorted(positions, key=positions.get)
    below = sum(position < fraction for position in positions.values())
    return set(ordered[: min(max(below, 1), len(ordered) - 1)])


def _unit_interval(content: bytes) -> float:
    """A number in [0, 1). Hashed once more, for the smallest hash of many is no longer spread evenly."""
    return int.from_bytes(hashlib.sha256(content).digest()[:6], "little") / 2**48
