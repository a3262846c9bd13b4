"""What changes a retrieval database: build, add, remove. Each resumes where it was stopped.

Every stage is an artifact named by what it is made of, so the same command finds what is finished and makes
what is not. All that a change goes on from is compared with its hashes first. The new version is announced
last; then what no version needs any more is deleted, the text of removed documents among it. No model needs
training for it (arXiv 2112.04426, Section 5).
"""

import collections
import contextlib
import dataclasses
import difflib
import functools
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from data.documents import Document, encodable
from data.token_store import TOKENS, TokenStore
from data.tokenised import TOKENIZER
from data.tokenizers import Tokenizer
from errors import InputError
from retrieval.database.database import Database
from retrieval.database.grown_table import REPLACED, grown_table, table_without
from retrieval.database.recipe import Recipe, encoder_of, text_hash, token_store, tokenizer_of
from retrieval.database.segments import TEXT_HASH
from retrieval.database.version import (
    ARTIFACTS,
    CURRENT,
    Segment,
    Version,
    described,
    own,
    read_version,
    write_version,
)
from retrieval.index.build import build_index, resolved
from retrieval.index.factory import require_supported
from retrieval.index.keys import StoredKeys
from retrieval.index.recall import read_recall
from retrieval.keys.embed import embed_store
from retrieval.keys.encoders import KeyEncoder
from storage.artifacts import MANIFEST, artifact, name_of, named, read_manifest
from storage.files import locked
from storage.json_files import check

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
    with changing(folder) as root:
        # What is there is made anew where it is damaged, the file that names it too.
        if (folder / CURRENT).exists() and (number := read_version(folder, compared=False).number) > 1:
            raise InputError(
                f"The database in {folder} is at version {number}: building it again would undo what was "
                "added and removed. Use add and remove, or build in another folder."
            )
        require_supported(recipe.index)
        with measured("train tokenizer"):
            tokenizer_folder = tokenizer_of(root, documents, recipe)
            tokenizer = Tokenizer(tokenizer_folder / TOKENIZER)
        with measured("tokenize"):
            store = token_store(root, documents, tokenizer)
        with measured("open encoder"):
            encoder = encoder_of(root, recipe.keys, recipe.encoder, store, tokenizer)
            resolved(
                recipe.index, int(store.chunk_offsets[-1]), encoder.dimension
            )  # refused before keys are made
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
    with changing(folder) as root:
        database = Database(folder, thorough=True)
        if not (new := not_there(database, documents)):
            return database.version
        before = dataclasses.replace(
            database.version, change="add", documents=tuple(document.source for document in new)
        )
        with measured("tokenize"):
            store = token_store(root, new, database.tokenizer)
        make_keys = functools.partial(embed_store, workers=workers)
        return _grown(folder, before, store, database.tokenizer, database.encoder, make_keys, measured)


def remove(folder: Path, names: Sequence[str], measured: Measured = unmeasured) -> Version:
    """A version without these documents: nothing retrieves them again, and their text is overwritten. Their
    keys stay in the files of keys and index, where no search returns them. The version that is there when it
    is what this made: a removal that was killed is finished by the same command.

    Args:
        names: sources, or names of files that were cut into several documents.

    Raises:
        InputError: a document is not there, or was removed before. Nothing is changed then.
    """
    with changing(folder) as root:
        database = Database(folder, thorough=True)
        names = [*map(encodable, names)]
        if _was_just_removed(database, names):
            return database.version
        numbers = dict.fromkeys(number for name in names for number in _present(database, name))
        gone = np.array(sorted(numbers), np.int64)
        with measured("overwrite text"):
            segments = []
            for segment, first, inside in _by_segment(database, gone):
                database.artifact(segment.store)
                store = overwritten(root, segment.store, gone[inside] - first)
                segments.append(dataclasses.replace(segment, store=store.name))
        version = dataclasses.replace(
            database.version,
            number=database.version.number + 1,
            change="remove",
            documents=tuple(database.documents.sources[number] for number in numbers),
            segments=tuple(segments),
            removed=tuple(sorted({*database.version.removed, *gone.tolist()})),
        )
        with measured("neighbour table"):
            after = Database(folder, version, thorough=True)
            table = table_without(root, after, database.documents.document_chunks(gone))
        return write_version(folder, dataclasses.replace(version, table=table.name))


def not_there(database: Database, documents: Sequence[Document]) -> list[Document]:
    """Those of `documents` that the database does not hold.

    Raises:
        InputError: it holds another text under the same source, or of the same file that was cut into
            documents, or two of them have one source.
    """
    _require_all_parts(database, documents)
    texts = np.concatenate([store.column(TEXT_HASH) for store in database.documents.stores])
    there = {source: int(texts[number]) for source, number in database.present.items()}
    # `data.united.distinct` numbers what else is called so: a text may be there under another number.
    texts_of = collections.defaultdict(set)
    for source, text in there.items():
        texts_of[_unnumbered(source)].add(text)
    new = {}
    for document in documents:
        text = text_hash(document.text)
        if text in texts_of[_unnumbered(document.source)]:
            continue
        if there.setdefault(document.source, text) != text:
            raise _other_text(database, document.source)
        new[document.source] = document
    return list(new.values())


def _require_all_parts(database: Database, documents: Sequence[Document]) -> None:
    """Raises InputError where a file is there in parts that are not among those given: it has become shorter,
    or is not cut any more, or is cut now, and its old text would stay beside the new one.
    """
    given = collections.defaultdict(set)
    for document in documents:
        given[_file(document.source, document.package)].add(document.source)
    packages = database.documents.packages
    for source, number in database.present.items():
        file = _file(source, packages[number])
        if file in given and source not in given[file]:
            raise _other_text(database, file)


def _file(source: str, package: str) -> str:
    """The file that a document is a part of (`data.text_files`); else the document itself."""
    return package if re.fullmatch(rf"{re.escape(package)}:[0-9]+", source) else source


def _unnumbered(source: str) -> str:
    return re.sub(r" \([0-9]+\)$", "", source)


def _other_text(database: Database, source: str) -> InputError:
    return InputError(
        f"The database {database.folder} holds a document {source} with another text. Remove the document "
        f"{source!r} from it first, then add again. Where it is another file of the same name, give the "
        "folder above it: names then say where files lie."
    )


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
def changing(folder: Path) -> Iterator[Path]:
    """The folder of artifacts, in one change of a database at a time; what is to be forgotten goes before,
    if a kill left it, and after.
    """
    folder.mkdir(parents=True, exist_ok=True)
    root = own(folder, ARTIFACTS)
    with locked(folder / ".lock"):
        _forget(folder)
        yield root
        _forget(folder)


def _grown(
    folder: Path, before: Version, store: TokenStore, tokenizer: Tokenizer, encoder: KeyEncoder,
    make_keys: Callable[..., StoredKeys], measured: Measured,
) -> Version:  # fmt: skip
    """The version after `before`, with `store` as one more segment."""
    root = own(folder, ARTIFACTS)
    with measured("make keys"):
        keys = make_keys(root, store, tokenizer, encoder)
    segment = Segment(store.path.name, tuple(path.parent.name for path in keys.paths), index="")
    version = dataclasses.replace(before, number=before.number + 1, segments=(*before.segments, segment))
    database = Database(folder, version, thorough=True)
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
        table = grown_table(root, Database(folder, version, thorough=True), before.table)
    return write_version(folder, dataclasses.replace(version, table=table.name))


def _forget(folder: Path) -> None:
    """Deletes the stores and tables that those of the newest version were made from."""
    if not (folder / CURRENT).exists():
        return
    version = read_version(folder, compared=False)
    # Documents that were removed and came back, as they were, are in a store of the same name.
    needed = set(version.artifacts)
    for name in (version.table, *(segment.store for segment in version.segments)):
        for path in reversed(_ancestors(own(folder, ARTIFACTS), name)):
            if path.name not in needed:
                shutil.rmtree(path)


def _ancestors(root: Path, name: str) -> list[Path]:
    """The artifacts that `name` replaced, the latest first.

    Raises:
        InputError: a manifest says that something else was replaced, which it was not.
    """
    paths: list[Path] = []
    while True:
        manifest = named(root, name) / MANIFEST
        try:
            replaced = read_manifest(manifest.parent)["inputs"].get(REPLACED)
        except (OSError, ValueError):  # who opens the artifact is told; of what it replaced nothing is known
            break
        if not replaced:
            break
        try:
            check(replaced, name_of(name.partition("-")[0]), f"inputs.{REPLACED}")
        except ValueError as error:
            raise InputError(
                f"{manifest}: {error}. The database is damaged or was tampered with, and is left as it is: "
                "build it anew in another folder."
            ) from error
        name = replaced
        paths.append(named(root, name))
    return [path for path in paths if path.is_dir()]


def _present(database: Database, name: str) -> list[int]:
    """The numbers of the documents of this source, or of a file of this name that was cut into several."""
    if numbers := [number for source, number in database.present.items() if _is_of(source, name)]:
        return numbers
    if any(_is_of(source, name) for source in database.documents.sources):
        raise InputError(
            f"The document {name} was removed from the database {database.folder} before: there is nothing "
            "left of it to remove."
        )
    close = difflib.get_close_matches(name, database.present, n=3)
    raise InputError(
        f"The database {database.folder} has no document {name}. "
        f"{'Close to it: ' + ', '.join(close) + '.' if close else 'Search names the documents that it has.'}"
    )


def _is_of(source: str, name: str) -> bool:
    """Whether a document is `name`, or a part or a line of that file."""
    return source == name or source.startswith(f"{name}:")


def _was_just_removed(database: Database, names: Sequence[str]) -> bool:
    """Whether the newest version is the removal of just these documents."""
    asked = {source for source in database.documents.sources for name in names if _is_of(source, name)}
    return database.version.change == "remove" and asked == set(database.version.documents)


def _by_segment(database: Database, gone: np.ndarray) -> Iterator[tuple[Segment, int, np.ndarray]]:
    """Each segment with its first document's number and which of `gone` are its own."""
    bounds = database.documents.first_documents
    for segment, first, end in zip(database.version.segments, bounds, bounds[1:]):
        yield segment, int(first), (gone >= first) & (gone < end)
