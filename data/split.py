"""Which documents are held out: whole duplicate groups, drawn by the hash of their text."""

import hashlib
from collections.abc import Sequence

import numpy as np

from data.documents import Document
from errors import InputError


def split(documents: Sequence[Document], groups: np.ndarray, validation_fraction: float) -> np.ndarray:
    """bool [D], True for validation.

    A group is held out when the hash of its content lies below the fraction, so that it stays on its side
    whatever else the corpus holds. Only where all groups lie on one side, the nearest one moves to the other.

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
            f"The corpus cannot be split into training and validation: its {len(documents)} documents form "
            f"{len(positions)} group of near duplicates. Give a corpus of at least two different documents."
        )
    ordered = sorted(positions, key=positions.get)
    held_out = [group for group in ordered if positions[group] < validation_fraction]
    held_out = ordered[: min(max(len(held_out), 1), len(ordered) - 1)]
    return np.isin(groups, held_out)


def _unit_interval(content: bytes) -> float:
    """A number in [0, 1). Hashed once more, for the smallest hash of many is no longer spread evenly."""
    return int.from_bytes(hashlib.sha256(content).digest()[:6], "little") / 2**48
