"""The unit of text that corpora yield, duplicates and splits are decided on, and the token store keeps."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """One text and where it comes from.

    Attributes:
        text: the text itself, encodable as UTF-8.
        source: what a reader would look up, e.g. `json.decoder`, `notes/a.txt` or `train.jsonl:17`.
        domain: `code` or `docs`; results are reported per domain.
        group: documents of one group are never parted, nor each other's neighbours. A module and its
            docstrings share one; for all others it is the source.
        package: what is independent of all else, so that verdicts count it: a package, a top-level module,
            a file that was cut into parts. Where nothing is said, the group.

    Source, group and package may be made of a file's name, and stand as `encodable` has them.
    """

    text: str
    source: str
    domain: str
    group: str
    package: str = ""

    def __post_init__(self):
        names = {"source": self.source, "group": self.group, "package": self.package or self.group}
        for field, name in names.items():
            object.__setattr__(self, field, encodable(name))


def encodable(name: str) -> str:
    """A file's name with the bytes that are no UTF-8 escaped, as `caf\\xe9.txt`: Python reads them as lone
    surrogates, which no file, page or terminal takes.
    """
    try:
        content = name.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # surrogates that stand for no byte
        content = name.encode(errors="backslashreplace")
    return content.decode(errors="backslashreplace")


def rank(name: str) -> bytes:
    """Sorts names in an order that adding or removing others does not change."""
    return hashlib.sha256(name.encode(errors="surrogatepass")).digest()


def in_turns(names: Sequence[str], packages: Sequence[str]) -> list[int]:
    """The order in which packages take turns: each gives its first by `rank`, then each its second, and so
    on. A prefix of it holds of every package about as much as of any other, as far as it goes.

    Args:
        names, packages: of what is ordered, by index.
    """
    taken: Counter = Counter()
    turns = {}
    for i in sorted(range(len(names)), key=lambda i: rank(names[i])):
        turns[i] = taken[packages[i]]
        taken[packages[i]] += 1
    return sorted(turns, key=lambda i: (turns[i], rank(packages[i])))
