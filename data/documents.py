"""The unit of text that corpora yield, duplicates and splits are decided on, and the token store keeps."""

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
