"""The token store: every document's tokens in one memory-mapped file, with bounds, sides and sources.

A stored document is [bos] + encode(text) + [eos]. Each document is cut into chunks of 64 tokens from its
start (RETRO, Section 2), and a chunk's global id counts the chunks of all documents before it: neighbours are
keyed by it, so that no seed, batch size or sequence length can invalidate them.

Shapes: D documents, N tokens of all documents together, `...` any shape of ids.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from data.documents import Document
from data.tokenizers import Tokenizer
from errors import InputError
from storage.arrays import read_array
from storage.files import no_link, write_atomic
from storage.json_files import check, read_json

CHUNK = 64

TOKENS, DESCRIPTION = "tokens.bin", "store.json"


def _type_of_tokens(name: str) -> None:
    if name not in ("uint16", "uint32"):
        raise ValueError("tokens are uint16 or uint32")


FORM = {
    "num_documents": int, "vocab_size": int, "pad_id": int, "bos_id": int, "eos_id": int,
    "dtype": _type_of_tokens,
}  # fmt: skip
KINDS = {"lengths": "i", "num_bytes": "i", "groups": "i", "is_validation": "b", "shared_ngrams": "f"}


class Chunked(Protocol):
    """What a `TokenStore`, and several read as one (`retrieval.database.segments`), say of their chunks."""

    pad_id: int
    bos_id: int
    eos_id: int
    sources: tuple[str, ...]
    domains: tuple[str, ...]
    num_chunks: np.ndarray
    chunk_offsets: np.ndarray

    def chunk_documents(self, ids: np.ndarray, /) -> np.ndarray: ...
    def chunk_tokens(self, ids: np.ndarray, /) -> np.ndarray: ...
    def window(self, ids: np.ndarray, length: int, /) -> tuple[np.ndarray, np.ndarray]: ...


def write_token_store(
    path: Path,
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    groups: np.ndarray,
    is_validation: np.ndarray,
    extra: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Tokenizes `documents` into the folder `path`.

    Args:
        groups: [D] duplicate groups, see `data.duplicates`.
        is_validation: [D].
        extra: further columns [D] by name; `shared_ngrams`, 0 where not given, is the share of a document's
            13-grams that training documents hold too.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    dtype = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
    lengths, num_bytes = [], []
    with open(path / TOKENS, "wb") as file:
        for document in documents:
            ids = np.concatenate([[tokenizer.bos_id], tokenizer.encode(document.text), [tokenizer.eos_id]])
            file.write(ids.astype(np.dtype(dtype).newbyteorder("<")).tobytes())
            lengths.append(len(ids))
            num_bytes.append(len(document.text.encode()))
    columns = {
        "shared_ngrams": np.zeros(len(documents)),
        "lengths": np.array(lengths, np.int64),
        "num_bytes": np.array(num_bytes, np.int64),
        "groups": np.asarray(groups, np.int64),
        "is_validation": np.asarray(is_validation, bool),
        **(extra or {}),
    }
    for name, column in columns.items():
        with open(path / f"{name}.npy", "wb") as file:
            np.lib.format.write_array(file, np.asarray(column), allow_pickle=False)
    description = {
        "num_documents": len(documents),
        "dtype": np.dtype(dtype).name,
        "vocab_size": tokenizer.vocab_size,
        "pad_id": tokenizer.pad_id,
        "bos_id": tokenizer.bos_id,
        "eos_id": tokenizer.eos_id,
        "sources": [document.source for document in documents],
        "domains": [document.domain for document in documents],
        "packages": [document.package for document in documents],
    }
    write_atomic(path / DESCRIPTION, json.dumps(description))


class TokenStore:
    """Reads what `write_token_store` wrote; the tokens stay on disk.

    Attributes:
        tokens: [N] uint16 or uint32, memory-mapped.
        offsets: int64 [D+1]; document d is tokens[offsets[d]:offsets[d+1]].
        num_chunks: int64 [D], ceil(tokens of the document / 64).
        chunk_offsets: int64 [D+1]; chunk c of document d has the global id chunk_offsets[d] + c.
        sources, domains, packages: tuples of D strings.
        groups: int64 [D]; is_validation: bool [D]; num_bytes: int64 [D], UTF-8 bytes of the text;
        shared_ngrams: float64 [D].
        vocab_size, pad_id, bos_id, eos_id: the tokenizer's.

    Raises:
        InputError: a file is missing or has the wrong size; the message names it.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        description = self._description()
        self.num_documents: int = description["num_documents"]
        self.vocab_size: int = description["vocab_size"]
        self.pad_id: int = description["pad_id"]
        self.bos_id: int = description["bos_id"]
        self.eos_id: int = description["eos_id"]
        self.sources = tuple(description["sources"])
        self.domains = tuple(description["domains"])
        lengths = self.column("lengths")
        if (lengths < 0).any():
            raise self._unusable(self.path / "lengths.npy", "a document has fewer than no tokens")
        self.offsets = _bounds(lengths)
        self.num_chunks = -(-lengths // CHUNK)
        self.chunk_offsets = _bounds(self.num_chunks)
        self.num_bytes = self.column("num_bytes")
        self.groups = self.column("groups")
        packages = description.get("packages") or map(str, self.groups)  # older stores do not say
        self.packages: tuple[str, ...] = tuple(packages)
        self.is_validation = self.column("is_validation")
        self.shared_ngrams = self.column("shared_ngrams")
        self.tokens = self._map_tokens(np.dtype(description["dtype"]).newbyteorder("<"))

    def independent_groups(self, documents: np.ndarray) -> np.ndarray:
        """[D] strings: what to count as one among these documents when asking how sure a number is. Documents
        of one package are one group, and so are packages that hold near duplicates of one another; a group
        has the name of its first package.
        """
        packages, package_of = np.unique(np.array(self.packages)[documents], return_inverse=True)
        copies, copy_of = np.unique(self.groups[documents], return_inverse=True)
        size = len(packages) + len(copies)
        edges = coo_matrix(
            (np.ones(len(documents), bool), (package_of, len(packages) + copy_of)), shape=(size, size)
        )
        _, group_of = connected_components(edges, directed=False)
        first = np.unique(group_of[: len(packages)], return_index=True)[1]
        return packages[first[group_of[package_of]]]

    def document_tokens(self, d: int) -> np.ndarray:
        """int32 [tokens of document d], bos and eos included."""
        return self.tokens[self.offsets[d] : self.offsets[d + 1]].astype(np.int32)

    def chunk_documents(self, global_ids: np.ndarray) -> np.ndarray:
        """int64 [...]: the document that each chunk belongs to, -1 for the padding chunk -1."""
        return np.searchsorted(self.chunk_offsets, global_ids, side="right") - 1

    def chunk_tokens(self, global_ids: np.ndarray) -> np.ndarray:
        """int32 [..., 64]: the chunks' tokens, padded past the document's end; all padding for id -1."""
        return self.window(global_ids, CHUNK)[0]

    def window(self, global_ids: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """The `length` tokens of the same document from each chunk's start on.

        Returns:
            (tokens int32 [..., length], inside bool [..., length]); past the document's end, and everywhere
            for id -1, tokens are padding and `inside` is False.
        """
        global_ids = np.asarray(global_ids, np.int64)
        documents = self.chunk_documents(global_ids)
        starts = self.offsets[documents] + (global_ids - self.chunk_offsets[documents]) * CHUNK
        positions = starts[..., None] + np.arange(length)
        inside = (positions < self.offsets[documents + 1][..., None]) & (global_ids >= 0)[..., None]
        tokens = self.tokens[np.where(inside, positions, 0)].astype(np.int32)
        return np.where(inside, tokens, np.int32(self.pad_id)), inside

    def column(self, name: str) -> np.ndarray:
        """[D]: a column by name, those given to `write_token_store` as `extra` included."""
        path = self.path / f"{name}.npy"
        try:
            column = read_array(path)
        except (OSError, ValueError) as error:
            raise self._unusable(path, error) from error
        if column.shape != (self.num_documents,):
            raise self._unusable(path, f"shape {column.shape} for {self.num_documents} documents")
        if column.dtype.kind != KINDS.get(name, column.dtype.kind):
            raise self._unusable(path, f"it holds {column.dtype}")
        return column

    def _description(self) -> dict:
        path = self.path / DESCRIPTION
        try:
            description = read_json(path)
            check(description, FORM)
            for name in ("sources", "domains", "packages"):
                texts = description.get(name)
                if name == "packages" and not texts:  # older stores do not say
                    continue
                check(texts, [str], name)
                if len(texts) != description["num_documents"]:
                    raise ValueError(f"it has {len(texts)} {name}")
        except (OSError, ValueError) as error:
            raise self._unusable(path, error) from error
        return description

    def _map_tokens(self, dtype: np.dtype) -> np.ndarray:
        path = self.path / TOKENS
        expected = int(self.offsets[-1]) * dtype.itemsize
        try:
            size = no_link(path).stat().st_size
        except OSError as error:
            raise self._unusable(path, error) from error
        if size != expected:
            raise self._unusable(path, f"{size:,} bytes where {expected:,} are due")
        return np.memmap(path, dtype, mode="r") if expected else np.zeros(0, dtype)

    def _unusable(self, path: Path, reason: object) -> InputError:
        return InputError(
            f"The token store {self.path} cannot be used: {path.name} is missing or damaged ({reason}). "
            "Remove that folder and run the command again to build it anew."
        )


def _bounds(counts: np.ndarray) -> np.ndarray:
    """[D] -> int64 [D+1]: the running sum, from 0."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
