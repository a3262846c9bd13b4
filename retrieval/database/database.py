"""A retrieval database in a folder: documents, their keys, an index and a neighbour table, in versions.

`database.json` is the newest version: the names of the artifacts that it consists of (`artifacts/`), and the
documents that were removed. A change makes new artifacts beside the old ones and then replaces that one file,
so that a reader or a kill sees the version before or the one after. `versions/` keeps each as it was.

Documents that are added become a segment of their own; chunk ids of earlier ones stay what they are, and an
id is never given twice. Shape suffixes: q queries, k neighbours, d dimension of a key.
"""

from functools import cached_property
from pathlib import Path

import numpy as np

from data.token_store import TOKENS, TokenStore
from data.tokenised import TOKENIZER
from data.tokenizers import Tokenizer
from errors import InputError
from retrieval.database.segments import Segments
from retrieval.database.version import ARTIFACTS, FOLDER, Version, own, read_version
from retrieval.index.index import LISTS, load_index, reranked, search
from retrieval.index.keys import StoredKeys
from retrieval.keys.encoders import KeyEncoder, open_encoder
from retrieval.keys.shards import FILE_NAME as KEYS
from retrieval.neighbours.table import COLUMNS, Rows, read_rows
from storage.artifacts import damaged_files, large, named, require_whole

# Where an index holds codes, a search orders so many candidates by their keys.
CANDIDATES_PER_NEIGHBOUR, FEWEST_CANDIDATES = 10, 50
WAY_OUT = (
    "Put it back from a copy; or, if nothing was added or removed since it was built, run the command that "
    "built it again: only what is missing or damaged is made."
)
MOST_NAMED = 8  # files, in a message
# What stays on disk and is read here and there.
MAPPED = (TOKENS, KEYS, LISTS, *(f"{name}.npy" for name in COLUMNS))


class Database:
    """One version of the database in a folder, opened for reading.

    What is opened is compared with the hashes of its files; of a database beyond `ALWAYS_COMPARED` bytes, the
    files that are read as a whole. thorough: all files of whatever is opened, as before a change that goes on
    from them.

    Raises:
        InputError: there is none, or what it consists of is missing, damaged or foreign.
    """

    def __init__(self, folder: Path, version: Version | None = None, thorough: bool = False):
        self.folder = Path(folder)
        self.version = version or read_version(self.folder)
        self._thorough = thorough
        self._opened: set[str] = set()

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self.artifact(self.version.tokenizer) / TOKENIZER)

    @cached_property
    def documents(self) -> Segments:
        segments = Segments([TokenStore(self.artifact(segment.store)) for segment in self.version.segments])
        if max(self.version.removed, default=-1) >= segments.num_documents:
            raise self._misfit(f"it has {segments.num_documents} documents, and removed one beyond these")
        return segments

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
        keys = StoredKeys([self.artifact(name) / KEYS for name in names], self.version.encoder["dimension"])
        if len(keys) != (chunks := self.documents.chunk_offsets[-1]):
            raise self._misfit(f"it has {len(keys)} keys for {chunks} chunks")
        return keys

    @cached_property
    def indexes(self) -> list:
        """The FAISS index of each segment."""
        indexes, bounds = [], self.documents.first_chunks
        for segment, chunks in zip(self.version.segments, np.diff(bounds)):
            index = load_index(self.artifact(segment.index), self.version.encoder["dimension"])
            if index.ntotal != chunks:
                raise self._misfit(f"{segment.index} holds {index.ntotal} keys for {chunks} chunks")
            indexes.append(index)
        return indexes

    @cached_property
    def table(self) -> Rows:
        """(distances float32, ids int64) [n, k + spare] of each chunk's nearest, memory-mapped."""
        rows = read_rows(self.artifact(self.version.table))
        if len(rows[0]) != (chunks := self.documents.chunk_offsets[-1]):
            raise self._misfit(f"its table has {len(rows[0])} rows for {chunks} chunks")
        return rows

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
        """The folder of an artifact of this version; InputError where it is missing or damaged."""
        folder = named(own(self.folder, ARTIFACTS), name)
        if name not in self._opened:
            require_whole(folder, f"The database {self.folder} is not whole. {WAY_OUT}", self._not_compared)
            self._opened.add(name)
        return folder

    def require_whole(self) -> int:
        """Compares every file of this version with its hash, opens everything, and returns how many artifacts
        there are.

        Raises:
            InputError: files are missing or damaged; the message names them.
        """
        names = sorted(set(self.version.artifacts))
        folders = [named(own(self.folder, ARTIFACTS), name) for name in names]
        if damaged := [folder / file for folder in folders for file in damaged_files(folder)]:
            raise InputError(
                f"The database {self.folder} is not whole: {len(damaged)} files are missing or damaged, "
                f"{', '.join(map(str, damaged[:MOST_NAMED]))}. {WAY_OUT}"
            )
        _ = self.tokenizer, self.documents, self.encoder, self.keys, self.indexes, self.table
        return len(names)

    @cached_property
    def _not_compared(self) -> tuple[str, ...]:
        folders = [self.folder / ARTIFACTS / name for name in self.version.artifacts]
        return MAPPED if not self._thorough and large(folders) else ()

    def _misfit(self, what: str) -> InputError:
        return InputError(
            f"The parts of the database {self.folder} do not belong together: {what}. {WAY_OUT}"
        )


def require_dimension(queries_qd: np.ndarray, dimension: int) -> None:
    if queries_qd.ndim != 2 or queries_qd.shape[1] != dimension:
        raise InputError(
            f"Queries of shape {list(queries_qd.shape)} were given to a database whose keys have {dimension} "
            "numbers each. Make them with the encoder of the database."
        )
