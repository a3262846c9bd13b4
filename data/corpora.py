"""Corpora: named text -> documents. What cannot be read is left out with a count, never fatal.

installed       the packages that requirements.txt pins, and the standard library
stdlib          the running Python's standard library
PATH or GLOB    text, source files and .jsonl, each also as .gz; folders are read recursively
hf:NAME[:CONFIG]  the training split of a Hugging Face dataset
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from data.documents import Document, in_turns
from data.installed import installed_documents
from data.stdlib import stdlib_documents
from data.text_files import TEXT_SUFFIXES, file_documents
from errors import InputError
from storage.artifacts import fingerprint

LIBRARIES = {"installed": installed_documents, "stdlib": stdlib_documents}
STRINGS = ("string", "large_string")


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order.

    Attributes:
        skipped: how many files or records were left out, by reason.
        hash: fingerprint of every document's text, source, domain and package.
    """

    documents: tuple[Document, ...]
    skipped: Mapping[str, int]
    hash: str


def load_corpus(corpus: str, max_bytes: int | None = None) -> Corpus:
    """Reads `corpus`: `installed`, `stdlib`, a path, a glob or `hf:NAME[:CONFIG]`.

    With `max_bytes`, packages take turns in giving a whole group, until the next one would exceed it (the
    first is always taken), so that a smaller budget gives a subset of what a larger one gives.

    Raises:
        InputError: nothing is there, or nothing in it can be read.
    """
    skipped = Counter()
    if corpus in LIBRARIES:
        texts: Iterable[Document] = LIBRARIES[corpus](max_bytes)
    elif corpus.startswith("hf:"):
        texts = _dataset_documents(corpus.removeprefix("hf:"))
    else:
        texts = file_documents(corpus, skipped)
    documents = tuple(_readable(texts, skipped))
    if not documents:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items())) or "no file"
        raise InputError(
            f"The corpus {corpus} holds no text that can be read ({reasons}). Give UTF-8 files ending in "
            f"{' '.join(sorted(TEXT_SUFFIXES))}, in .jsonl or as source code does, also with .gz."
        )
    if max_bytes is not None:
        documents = _within(documents, max_bytes)
    content = [
        (hashlib.sha256(d.text.encode()).hexdigest(), d.source, d.domain, d.package) for d in documents
    ]
    return Corpus(documents, dict(skipped), fingerprint(content))


def _readable(documents: Iterable[Document], skipped: Counter) -> Iterator[Document]:
    for document in documents:
        if not document.text.strip():
            skipped["empty"] += 1
        elif "\0" in document.text:
            skipped["binary"] += 1
        elif not _is_unicode(document.text):
            skipped["invalid UTF-8"] += 1
        else:
            yield document


def _is_unicode(text: str) -> bool:
    """False for lone surrogates, which JSON can escape but UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _within(documents: tuple[Document, ...], max_bytes: int) -> tuple[Document, ...]:
    sizes, packages = Counter(), {}
    for document in documents:
        sizes[document.group] += len(document.text.encode())
        packages[document.group] = document.package
    groups = list(sizes)
    order = [groups[i] for i in in_turns(groups, [packages[group] for group in groups])]
    totals = itertools.accumulate(sizes[group] for group in order)
    kept = {group for n, (group, total) in enumerate(zip(order, totals)) if n == 0 or total <= max_bytes}
    return tuple(document for document in documents if document.group in kept)


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
