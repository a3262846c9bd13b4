"""Live retrieval: chunks that are being written -> their nearest training chunks, as the table would give
them: found by the index, ordered by the keys, of equal distances the first id.

The neighbour table answers for the chunks of the store alone. A text in the making asks the index itself: its
chunk is decoded, embedded by the same encoder and searched for (arXiv 2112.04426, section 2.3). Nothing
is left out: such a text belongs to no document of the store. What is searched is the index that a model was
trained with, or a database of the user's own.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.token_store import Chunked, TokenStore
from data.tokenizers import Tokenizer
from errors import InputError
from retrieval.chunks import chunk_text, neighbour_tokens, store_hash
from retrieval.database.database import Database
from retrieval.database.segments import Segments
from retrieval.index.index import load_index
from retrieval.index.nearest_outside_group import nearest_by_keys
from retrieval.keys.embed import embed_store
from retrieval.keys.encoders import KeyEncoder
from storage.artifacts import read_manifest


class Retrieved(NamedTuple):
    """The k nearest of each of B chunks, nearest first.

    ids: int64 [B, k] global chunk ids, -1 = missing. distances: float32 [B, k] squared L2, inf = missing.
    tokens: int32 [B, k, 128], each neighbour and its continuation. mask: bool [B, k, 128], False where there
    is no token.
    """

    ids: np.ndarray
    distances: np.ndarray
    tokens: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Retriever:
    """`retriever(chunks)` finds k neighbours of each.

    store: the documents they come from. find(queries float32 [B, d], k) -> (distances, ids) [B, k], by
    distance, then id; -1 and inf where there are fewer.
    """

    store: TokenStore | Segments
    tokenizer: Tokenizer
    encoder: KeyEncoder
    find: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
    k: int

    def __call__(self, chunks_bm: np.ndarray) -> Retrieved:
        """chunks: int [B, 64] token ids."""
        keys_bd = self.encoder.encode([self.tokenizer.decode(chunk) for chunk in chunks_bm])
        distances, ids = self.find(keys_bd, self.k)
        return Retrieved(ids, distances, *neighbour_tokens(self.store, ids))


def open_retriever(
    index: Path, store: TokenStore, tokenizer: Tokenizer, encoder: KeyEncoder, k: int
) -> Retriever:
    """The retriever over the file `index` of an artifact of `build_training_index`, and the keys beside it,
    which are made anew where they are missing.

    Raises:
      InputError: the index is missing or damaged, holds fewer than k chunks, or was made from another store,
        tokenizer or encoder.
    """
    made_of = _inputs(index.parent)
    for words, name, given in (
        ("token store", "store", store_hash(store)),
        ("tokenizer", "tokenizer", tokenizer.hash),
        (f"encoder ({encoder.name})", encoder.name, encoder.hash),
    ):
        if made_of.get(name) != given:
            raise InputError(
                f"The index {index} was made with another {words} than the one given: what it finds would "
                f"mean nothing. Give the {words} that it was made with, or build the index anew."
            )
    opened = load_index(index)
    _require_chunks(k, f"index {index}", opened.ntotal)
    keys = embed_store(index.parent.parent, store, tokenizer, encoder)
    return Retriever(store, tokenizer, encoder, functools.partial(nearest_by_keys, opened, keys), k)


def retriever_from(database: Database, tokenizer: Tokenizer, k: int) -> Retriever:
    """The retriever over a database of the user's own, for a model that reads `tokenizer`.

    Raises:
      InputError: the database has another tokenizer, or holds fewer than k chunks.
    """
    if database.tokenizer.hash != tokenizer.hash:
        raise InputError(
            f"The database {database.folder} has another tokenizer than the model, for which its tokens "
            "would mean other text. Build one with the model's own: give the build the folder of the model's "
            "run as its tokenizer."
        )
    _require_chunks(k, f"database {database.folder}", len(database.keys) - len(database.removed_chunks))
    return Retriever(database.documents, tokenizer, database.encoder, database.search, k)


def _require_chunks(k: int, where: str, held: int) -> None:
    if not 1 <= k <= held:
        raise InputError(
            f"{k} neighbours were asked for, but the {where} holds {held} chunks. Ask for at least 1 and at "
            f"most {held}."
        )


def _inputs(index: Path) -> dict[str, str]:
    try:
        return read_manifest(index)["inputs"]
    except (OSError, ValueError) as error:
        raise InputError(
            f"There is no index at {index}, or a damaged one ({error}). Run the command that built it again: "
            "only what is missing is built anew."
        ) from error


def source(store: Chunked, tokenizer: Tokenizer, chunk: int, distance: float) -> dict[str, Any]:
    """Where a retrieved chunk comes from and what it says, for a results file. `chunk` is a global id; in the
    result it is counted from its document's start.
    """
    document = int(store.chunk_documents(chunk))
    first = int(chunk - store.chunk_offsets[document])
    followed = first + 1 < store.num_chunks[document]
    return {
        "source": store.sources[document],
        "domain": store.domains[document],
        "chunk": first,
        "distance": float(distance),
        "text": chunk_text(store, tokenizer, chunk),
        "continuation": chunk_text(store, tokenizer, chunk + 1) if followed else "",
    }
