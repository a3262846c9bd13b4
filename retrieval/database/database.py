"""A retrieval database in a folder: documents, their keys, an index and a neighbour table, in versions.

`database.json` is the newest version: the names of the artifacts that it consists of (`artifacts/`), and the
documents that were removed. A change makes new artifacts beside the old ones and then replaces that one file,
so that a reader or a kill sees the version before or the one after. `versions/` keeps each as it was.

Documents that are added become a segment of their own; chunk ids of earlier ones stay what they are, and an
id is never given twice. Shape suffixes: q queries, k neighbours, d dimension of a key.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data.token_store import TokenStore
from data.tokenised import TOKENIZER
from data.tokenizers import Tokenizer
from errors import InputError
from retrieval.database.recipe import Recipe
from retrieval.database.segments import Segments
from retrieval.index.index import load_index, reranked, search
from retrieval.index.keys import StoredKeys
from retrieval.index.recall import Recall, recall_of
from retrieval.keys.encoders import KeyEncoder, open_encoder
from retrieval.keys.shards import FILE_NAME as KEYS
from storage.files import write_atomic

CURRENT, VERSIONS, ARTIFACTS = "database.json", "versions", "artifacts"
FORMAT = 1
# Of an encoder's spec: where it lies that was made for this database.
FOLDER = "folder"
# Where an index holds codes, a search orders so many candidates by their keys.
CANDIDATES_PER_NEIGHBOUR, FEWEST_CANDIDATES = 10, 50


@dataclass(frozen=True)
class Segment:
    """Documents that came together, by the names of their artifacts: token store, shards of keys, index."""

    store: str
    keys: tuple[str, ...]
    index: str


@dataclass(frozen=True)
class Version:
    """What database.json says.

    number: counts changes from 1. change: build, add or remove. documents: the sources that an add or a
    remove was about. removed: numbers of documents that are not there any more. encoder: the spec, the hash
    and the dimension of what makes keys. table: the neighbour table's artifact. recall: of the index that was
    built; None where it is exact.
    """

    number: int
    change: str
    documents: tuple[str, ...]
    tokenizer: str
    encoder: Mapping[str, Any]
    segments: tuple[Segment, ...]
    table: str
    removed: tuple[int, ...]
    recipe: Recipe
    recall: Recall | None
    format: int = FORMAT


class Database:
    """One version of the database in a folder, opened for reading.

    Raises:
        InputError: there is none, or what it consists of is missing, damaged or foreign.
    """

    def __init__(self, folder: Path, version: Version | None = None):
        self.folder = Path(folder)
        self.version = version or read_version(self.folder)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self.artifact(self.version.tokenizer) / TOKENIZER)

    @cached_property
    def documents(self) -> Segments:
        return Segments([TokenStore(self.artifact(segment.store)) for segment in self.version.segments])

    @cached_property
    def present(self) -> dict[str, int]:
        """Source -> number, of the documents that are not removed."""
        removed = set(self.version.removed)
        return {source: d for d, source in enumerate(self.documents.sources) if d not in removed}

    @cached_property
    def groups(self) -> np.ndarray:
        """int64 [n]: the duplicate group of each chunk."""
        return np.repeat(self.documents.groups, self.documents.num_chunks)

    @cached_property
    def encoder(self) -> KeyEncoder:
        """The encoder of the keys; InputError when what it is opened from has changed since."""
        spec = dict(self.version.encoder["spec"])
        if FOLDER in spec:
            spec[FOLDER] = str(self.artifact(spec[FOLDER]))
        encoder = open_encoder(spec)
        if encoder.hash != self.version.encoder["hash"]:
            raise InputError(
                f"The keys of {self.folder} were made by another {encoder.name} encoder than the one that is "
                f"here now ({self.version.encoder['spec']}): distances between their keys mean nothing. "
                "Bring back the encoder that it was built with, or build the database anew in another folder."
            )
        return encoder

    @cached_property
    def keys(self) -> StoredKeys:
        names = [name for segment in self.version.segments for name in segment.keys]
        return StoredKeys([self.artifact(name) / KEYS for name in names], self.version.encoder["dimension"])

    @cached_property
    def indexes(self) -> list:
        """The FAISS index of each segment."""
        dimension = self.version.encoder["dimension"]
        return [load_index(self.artifact(segment.index), dimension) for segment in self.version.segments]

    @cached_property
    def removed_chunks(self) -> np.ndarray:
        """int64: the ids of all chunks of removed documents."""
        return self.documents.document_chunks(self.version.removed)

    def search(self, queries_qd: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest chunks that are not removed, by their keys.

        Returns:
            (distances float32 [q, k] squared L2, ids int64 [q, k]), nearest first, ties by id; inf and -1
            where there are fewer.

        Raises:
            InputError: the queries have another dimension than the keys.
        """
        require_dimension(queries_qd, self.version.encoder["dimension"])
        candidates = []
        for index in self.indexes:
            # More than k of an exact index too, which of equal distances may take any for the last place.
            width = max(CANDIDATES_PER_NEIGHBOUR * k, FEWEST_CANDIDATES)
            candidates.append(search(index, queries_qd, width, self.removed_chunks)[1])
        return reranked(self.keys, queries_qd, np.concatenate(candidates, axis=1), k)

    def artifact(self, name: str) -> Path:
        """The folder of an artifact of this version; InputError where it is missing."""
        path = self.folder / ARTIFACTS / name
        if not path.is_dir():
            raise InputError(
                f"The database {self.folder} is not whole: {path} is missing. Put it back from a copy; or, "
                "if nothing was added or removed since it was built, run the command that built it again: "
                "only what is missing is made."
            )
        return path


def described(encoder: KeyEncoder) -> dict[str, Any]:
    """The `encoder` of a Version. What is an artifact is called by its name: a database may move."""
    spec = dict(encoder.spec)
    if FOLDER in spec:
        spec[FOLDER] = Path(spec[FOLDER]).name
    return {"spec": spec, "hash": encoder.hash, "dimension": encoder.dimension}


def read_version(folder: Path) -> Version:
    """The newest version of the database in `folder`; InputError where there is none, or one of another
    format.
    """
    path = Path(folder) / CURRENT
    if not path.is_file():
        raise InputError(
            f"There is no database in {folder}: {path} does not exist. Build one from a corpus with this "
            "folder as its output; a build that was stopped resumes when it is started again."
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise ValueError(f"it is of format {values['format']}, and this version reads {FORMAT}")
        segments = tuple(
            Segment(**{**segment, "keys": tuple(segment["keys"])}) for segment in values["segments"]
        )
        lists = {name: tuple(values[name]) for name in ("documents", "removed")}
        recipe, recall = Recipe(**values["recipe"]), values["recall"] and recall_of(values["recall"])
        return Version(**{**values, **lists, "recipe": recipe, "recall": recall, "segments": segments})
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a database of this version, or a damaged one ({error}). The last good one lies "
            f"in {path.parent / VERSIONS}: copy it over {path.name}."
        ) from error


def write_version(folder: Path, version: Version) -> Version:
    """Makes `version` the current one, and returns it."""
    text = json.dumps(dataclasses.asdict(version), indent=1)
    (folder / VERSIONS).mkdir(exist_ok=True)
    write_atomic(folder / VERSIONS / f"{version.number:06d}.json", text)
    write_atomic(folder / CURRENT, text)
    return version


def require_dimension(queries_qd: np.ndarray, dimension: int) -> None:
    if queries_qd.ndim != 2 or queries_qd.shape[1] != dimension:
        raise InputError(
            f"Queries of shape {list(queries_qd.shape)} were given to a database whose keys have {dimension} "
            "numbers each. Make them with the encoder of the database."
        )
