"""What changes a retrieval database: build, add, remove. Each resumes where it was stopped.

Every stage is an artifact named by what it is made of, so the same command finds what is finished and makes
what is not. The new version is announced last; then what no version needs any more is deleted, the text of
removed documents among it. No model needs training for it (arXiv 2112.04426, Section 5).
"""

import contextlib
import dataclasses
import difflib
import fcntl
import functools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from data.documents import Document, printable
from data.token_store import TOKENS, TokenStore
from data.tokenised import TOKENIZER
from data.tokenizers import Tokenizer
from errors import InputError
from retrieval.database.database import (
    ARTIFACTS,
    CURRENT,
    Database,
    Segment,
    Version,
    described,
    read_version,
    write_version,
)
from retrieval.database.grown_table import REPLACED, grown_table, table_without
from retrieval.database.recipe import Recipe, encoder_of, text_hash, token_store, tokenizer_of
from retrieval.database.segments import TEXT_HASH
from retrieval.index.build import build_index
from retrieval.index.keys import StoredKeys
from retrieval.index.recall import read_recall
from retrieval.keys.embed import embed_store
from retrieval.keys.encoders import KeyEncoder
from storage.artifacts import MANIFEST, artifact

Measured = Callable[[str], AbstractContextManager]


def unmeasured(stage: str) -> AbstractContextManager:
    return nullcontext()


def build(
    folder: Path,
    documents: Sequence[Document],
    recipe: Recipe = Recipe(),  # noqa: B008 (frozen)
    workers: int = 1,
    cluster: str | None = None,
    measured: Measured = unmeasured,
) -> Version:
    """The first version of the database in `folder`, of all of `documents`; keys are made by `workers`
    processes of this machine or of a `cluster`, as in `retrieval.keys.embed.embed_store`.

    Raises:
        InputError: the folder's database was changed since it was built, or the recipe cannot be followed.
    """
    root = folder / ARTIFACTS
    with changing(folder):
        if (folder / CURRENT).exists() and (number := read_version(folder).number) > 1:
            raise InputError(
                f"The database in {folder} is at version {number}: building it again would undo what was "
                "added and removed. Use add and remove, or build in another folder."
            )
        with measured("train tokenizer"):
            tokenizer_folder = tokenizer_of(root, documents, recipe)
            tokenizer = Tokenizer(tokenizer_folder / TOKENIZER)
        with measured("tokenize"):
            store = token_store(root, documents, tokenizer)
        with measured("open encoder"):
            encoder = encoder_of(root, recipe.keys, recipe.encoder, store, tokenizer)
        empty = Version(
            number=0, change="build", documents=(), tokenizer=tokenizer_folder.name,
            encoder=described(encoder), segments=(), table="", removed=(), recipe=recipe, recall=None,
        )  # fmt: skip
        make_keys = functools.partial(embed_store, workers=workers, cluster=cluster)
        return _grown(folder, empty, store, tokenizer, encoder, make_keys, measured)


def add(
    folder: Path, documents: Sequence[Document], workers: int = 1, measured: Measured = unmeasured
) -> Version:
    """A version with those of `documents` that are not there yet, as a segment of their own; the version that
    is there when all are.

    Raises:
        InputError: a document of the same source is there with another text. Nothing is changed then.
    """
    with changing(folder):
        database = Database(folder)
        if not (new := not_there(database, documents)):
            return database.version
        before = dataclasses.replace(
            database.version, change="add", documents=tuple(document.source for document in new)
        )
        with measured("tokenize"):
            store = token_store(folder / ARTIFACTS, new, database.tokenizer)
        make_keys = functools.partial(embed_store, workers=workers)
        return _grown(folder, before, store, database.tokenizer, database.encoder, make_keys, measured)


def remove(folder: Path, sources: Sequence[str], measured: Measured = unmeasured) -> Version:
    """A version without the documents of these sources: nothing retrieves them again, and their text is
    overwritten. Their keys stay in the files of keys and index, where no search returns them.

    Raises:
        InputError: a source is not there, or was removed before. Nothing is changed then.
    """
    root = folder / ARTIFACTS
    with changing(folder):
        database = Database(folder)
        sources = tuple(dict.fromkeys(map(printable, sources)))
        gone = np.array(sorted(_present(database, source) for source in sources), np.int64)
        with measured("overwrite text"):
            segments = []
            for segment, first, inside in _by_segment(database, gone):
                store = overwritten(root, segment.store, gone[inside] - first)
                segments.append(dataclasses.replace(segment, store=store.name))
        version = dataclasses.replace(
            database.version,
            number=database.version.number + 1,
            change="remove",
            documents=sources,
            segments=tuple(segments),
            removed=tuple(sorted({*database.version.removed, *gone.tolist()})),
        )
        with measured("neighbour table"):
            table = table_without(root, Database(folder, version), database.documents.document_chunks(gone))
        return write_version(folder, dataclasses.replace(version, table=table.name))


def not_there(database: Database, documents: Sequence[Document]) -> list[Document]:
    """Those of `documents` that the database does not hold.

    Raises:
        InputError: it holds another text under the same source, or two of them have one source.
    """
    texts = np.concatenate([store.column(TEXT_HASH) for store in database.documents.stores])
    there = {source: int(texts[number]) for source, number in database.present.items()}
    new = {}
    for document in documents:
        text = text_hash(document.text)
        if there.setdefault(document.source, text) != text:
            raise InputError(
                f"The database {database.folder} holds a document {document.source} with another text. "
                f"Remove the document {document.source!r} from it first, then add again."
            )
        if document.source not in database.present:
            new[document.source] = document
    return list(new.values())


def overwritten(root: Path, name: str, documents: np.ndarray) -> Path:
    """The token store `name` with padding in place of `documents` (int64); itself where there are none."""
    store = TokenStore(root / name)
    if not len(documents):
        return store.path

    def build(folder: Path) -> None:
        for path in store.path.iterdir():
            if path.name != MANIFEST:
                shutil.copyfile(path, folder / path.name)
        with open(folder / TOKENS, "r+b") as file:
            for first, end in zip(store.offsets[documents], store.offsets[documents + 1]):
                file.seek(first * store.tokens.itemsize)
                # A tokenizer of one's own may have no padding: then any id will do.
                file.write(np.full(end - first, max(store.pad_id, 0), store.tokens.dtype).tobytes())

    return artifact(root, "tokens", {REPLACED: name, "overwritten": documents.tolist()}, build)


@contextlib.contextmanager
def changing(folder: Path) -> Iterator[None]:
    """One change of a folder at a time; what is to be forgotten goes before, if a kill left it, and after."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _forget(folder)
        yield
        _forget(folder)


def _grown(
    folder: Path, before: Version, store: TokenStore, tokenizer: Tokenizer, encoder: KeyEncoder,
    make_keys: Callable[..., StoredKeys], measured: Measured,
) -> Version:  # fmt: skip
    """The version after `before`, with `store` as one more segment."""
    root = folder / ARTIFACTS
    with measured("make keys"):
        keys = make_keys(root, store, tokenizer, encoder)
    segment = Segment(store.path.name, tuple(path.parent.name for path in keys.paths), index="")
    version = dataclasses.replace(before, number=before.number + 1, segments=(*before.segments, segment))
    database = Database(folder, version)
    with measured("build index"):
        first, end = database.documents.first_chunks[-2:]
        # A later segment is small beside the first: what suits the one does not suit the other.
        factory = "auto" if before.segments else version.recipe.index
        made_of = {"store": segment.store, "keys": segment.keys, "first": int(first)}
        index = build_index(root, database.keys, np.arange(first, end), database.groups, factory, made_of)
    segments = (*before.segments, dataclasses.replace(segment, index=index.name))
    recall = before.recall if before.segments else read_recall(index)
    version = dataclasses.replace(version, segments=segments, recall=recall)
    with measured("neighbour table"):
        table = grown_table(root, Database(folder, version), before.table)
    return write_version(folder, dataclasses.replace(version, table=table.name))


def _forget(folder: Path) -> None:
    """Deletes the stores and tables that those of the newest version were made from."""
    if not (folder / CURRENT).exists():
        return
    version = read_version(folder)
    for name in (version.table, *(segment.store for segment in version.segments)):
        for path in reversed(_ancestors(folder / ARTIFACTS, name)):
            shutil.rmtree(path)


def _ancestors(root: Path, name: str) -> list[Path]:
    """The artifacts that `name` replaced, the latest first."""
    paths = []
    while (manifest := root / name / MANIFEST).exists():
        name = json.loads(manifest.read_bytes())["inputs"].get(REPLACED, "")
        if name:
            paths.append(root / name)
    return [path for path in paths if path.exists()]


def _present(database: Database, source: str) -> int:
    """The number of the document with this source."""
    if source in database.present:
        return database.present[source]
    if source in database.documents.sources:
        raise InputError(
            f"The document {source} was removed from the database {database.folder} before: there is nothing "
            "left of it to remove."
        )
    close = difflib.get_close_matches(source, database.present, n=3)
    raise InputError(
        f"The database {database.folder} has no document {source}. "
        f"{'Close to it: ' + ', '.join(close) + '.' if close else 'Search names the documents that it has.'}"
    )


def _by_segment(database: Database, gone: np.ndarray) -> Iterator[tuple[Segment, int, np.ndarray]]:
    """Each segment with its first document's number and which of `gone` are its own."""
    bounds = database.documents.first_documents
    for segment, first, end in zip(database.version.segments, bounds, bounds[1:]):
        yield segment, int(first), (gone >= first) & (gone < end)
