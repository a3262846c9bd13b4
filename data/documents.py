"""The unit of text that corpora yield, duplicates and splits are decided on, and the token store keeps."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """One text and where it comes from.

    Attributes:
        text: the text itself, encodable as UTF-8.
        source: what a reader would look up, e.g. `json.decoder`, `notes/a.txt` or `train.jsonl:17`.
        domain: `code` or `docs`; results are reported per domain.
        group: documents of one group fall on the same side of the split. A module and its docstrings share
            one; for all others it is the source.
    """

    text: str
    source: str
    domain: str
    group: str


def group_rank(group: str) -> bytes:
    """Sorts groups in an order that adding or removing others does not change."""
    return hashlib.sha256(group.encode()).digest()
