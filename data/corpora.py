"""Corpora: named text -> documents. What cannot be read is left out with a count, never fatal.

installed       the packages that requirements.txt pins, and the standard library
stdlib          the running Python's standard library
PATH or GLOB    text, source files and .jsonl, each also as .gz; folders are read recursively
hf:NAME[:CONFIG]  the training split of a Hugging Face dataset
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter

from data.budget import within
from data.documents import Document
from data.installed import installed_documents
from data.stdlib import stdlib_documents
from data.text_files import TEXT_SUFFIXES, file_documents
from errors import InputError
from progress import printable
from storage.artifacts import fingerprint

LIBRARIES = {"installed": installed_documents, "stdlib": stdlib_documents}
STRINGS = ("string", "large_string")


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order.

    Attributes:
        skipped: how many files or records were left out, by reason.
        hash: fingerprint of every document's text, source, domain and package.
        num_bytes: of the documents' texts in UTF-8.
        total_bytes: of all texts that are there and can be read; None where a budget kept some unread.
    """

    documents: tuple[Document, ...]
    skipped: Mapping[str, int]
    hash: str
    num_bytes: int
    total_bytes: int | None

    @property
    def is_cut(self) -> bool:
        """Whether a budget has left something, or may have."""
        return self.total_bytes is None or self.total_bytes > self.num_bytes


def load_corpus(corpus: str, max_bytes: int | None = None) -> Corpus:
    """Reads `corpus`: `installed`, `stdlib`, a path, a glob or `hf:NAME[:CONFIG]`.

    With `max_bytes`, packages take turns in giving a whole group, until the next one would exceed it (the
    first is always taken), so that a smaller budget gives a subset of what a larger one gives. Of files and
    datasets all is read even so, but what the budget leaves is not kept in memory.

    Raises:
        InputError: nothing is there, or nothing in it can be read.
    """
    if not corpus.removeprefix("hf:"):
        raise InputError(f"--corpus {corpus!r} names no text. Give `stdlib`, a path, a glob or hf:NAME.")
    skipped: Counter = Counter()
    read: Counter = Counter()
    texts = _readable(_all_documents(corpus, max_bytes, skipped), skipped, read)
    if max_bytes is None:
        documents = tuple(texts)
    elif corpus in LIBRARIES:  # whose packages come mixed
        every = tuple(texts)
        taken = {d.group for d in within(sorted(every, key=attrgetter("package")), max_bytes)}
        documents = tuple(d for d in every if d.group in taken)
    else:
        documents = tuple(within(texts, max_bytes))
    if not documents:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items())) or "no file"
        raise InputError(
            f"The corpus {corpus} holds no text that can be read ({reasons}). Give UTF-8 files ending in "
            f"{' '.join(sorted(TEXT_SUFFIXES))}, in .jsonl or as source code does, also with .gz."
        )
    content = [
        (hashlib.sha256(d.text.encode()).hexdigest(), d.source, d.domain, d.package) for d in documents
    ]
    num_bytes = sum(len(d.text.encode()) for d in documents)
    total_bytes = None if corpus in LIBRARIES and max_bytes is not None else read["bytes"]
    return Corpus(documents, dict(skipped), fingerprint(content), num_bytes, total_bytes)


def announce(name: str, corpus: Corpus, max_bytes: int | None) -> None:
    """Says on stderr how much of the corpus `name` was taken, and by reason what was left out."""
    budget = "" if max_bytes is None else f"; the most is {_bytes(max_bytes)} (--corpus-bytes or its default)"
    lines = [f"{name}: {taken(corpus)}{budget}"]
    lines += [f"left out: {count:,} {reason}" for reason, count in sorted(corpus.skipped.items())]
    print(printable("\n".join(lines)), file=sys.stderr)


def taken(corpus: Corpus) -> str:
    """How much was taken, in words."""
    count = len(corpus.documents)
    there = "" if corpus.total_bytes is None else f" of the {_bytes(corpus.total_bytes)} that can be read"
    return f"{count:,} document{'' if count == 1 else 's'}, {_bytes(corpus.num_bytes)}{there}"


def _bytes(number: int) -> str:
    """To three digits: 8.00 MB."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= 0.9995 * unit:
            return f"{number / unit:#.3g}".rstrip(".") + f" {name}"
    return f"{number} bytes"


def _all_documents(corpus: str, max_bytes: int | None, skipped: Counter) -> Iterable[Document]:
    if corpus in LIBRARIES:
        return LIBRARIES[corpus](max_bytes)
    if corpus.startswith("hf:"):
        return _dataset_documents(corpus.removeprefix("hf:"))
    return file_documents(corpus, skipped)


def _readable(documents: Iterable[Document], skipped: Counter, read: Counter) -> Iterator[Document]:
    """Those that hold text; `skipped` counts the others by reason, `read` the bytes of all."""
    for document in documents:
        if not document.text.strip():
            skipped["empty"] += 1
        elif "\0" in document.text:
            skipped["binary"] += 1
        elif (size := _num_bytes(document.text)) is None:
            skipped["invalid UTF-8"] += 1
        else:
            read["bytes"] += size
            yield document


def _num_bytes(text: str) -> int | None:
    """None where it has lone surrogates, which JSON can escape but UTF-8 cannot hold."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return None


def _dataset_documents(name: str) -> Iterator[Document]:
    try:
        import datasets
    except ImportError as error:
        raise InputError(
            f"The corpus hf:{name} needs the package datasets: pip install datasets==5.2.0, then run the "
            "command again."
        ) from error
    name, _, config = name.partition(":")
    try:
        rows = datasets.load_dataset(name, config or None, split="train")
    except (OSError, ValueError) as error:
        raise InputError(
            f"The dataset {name} could not be loaded ({error}). Check its name, and its configuration as in "
            "hf:NAME:CONFIG; it needs a split named train, and the network unless it is cached."
        ) from error
    columns = [name for name, feature in rows.features.items() if getattr(feature, "dtype", "") in STRINGS]
    if not columns:
        raise InputError(f"The dataset {name} has no column of strings among {', '.join(rows.features)}.")
    if "text" in rows.features and "text" not in columns:
        raise InputError(
            f"The column text of the dataset {name} is no column of strings ({rows.features['text']}). Write "
            "what is to be read into a .jsonl file and give that."
        )
    column = "text" if "text" in columns else columns[0]
    for number, text in enumerate(rows[column]):
        source = f"hf:{name}:{number}"
        yield Document(text or "", source, "docs", source)
