"""Several corpora as one."""

import dataclasses
from collections.abc import Iterable, Sequence

from data.corpora import announce, load_corpus
from data.documents import Document
from errors import InputError


def united(names: Sequence[str], max_bytes: int | None) -> tuple[list[Document], list[str]]:
    """The documents of all corpora under different sources, and the corpora's hashes.

    max_bytes: of each corpus, at most.

    Raises:
      InputError: there is none, or one cannot be read.
    """
    if not names:
        raise InputError("--corpus is missing: give `stdlib`, a path, a quoted glob or hf:NAME[:CONFIG].")
    corpora = [load_corpus(name, max_bytes) for name in names]
    for name, corpus in zip(names, corpora):
        announce(name, corpus, max_bytes)
    documents = distinct(document for corpus in corpora for document in corpus.documents)
    return documents, [corpus.hash for corpus in corpora]


def distinct(documents: Iterable[Document]) -> list[Document]:
    """Each document once; the second text under one source is called `source (2)`, and so on, and is of
    another group and package: of two folders' README.md each may be the other's neighbour.
    """
    texts: dict[str, list[str]] = {}
    kept = []
    for document in documents:
        known = texts.setdefault(document.source, [])
        if document.text not in known:
            known.append(document.text)
            if len(known) > 1:
                names = {name: getattr(document, name) for name in ("source", "group", "package")}
                numbered = {name: f"{value} ({len(known)})" for name, value in names.items()}
                document = dataclasses.replace(document, **numbered)
            kept.append(document)
    return kept
