"""Keys: what a chunk is found by, [n, d] float32, and the encoders that make them from texts.

Shape suffixes: n texts or chunks, d the encoder's dimension.
"""

import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.token_store import TokenStore
from data.tokenizers import Tokenizer
from errors import InputError
from models.bert.load import load_bert
from models.bert.model import Bert
from retrieval.chunks import chunk_text, store_hash, training_chunks
from retrieval.keys.bert import MAX_WORDPIECES, embedder
from retrieval.keys.bert_checkpoint import checkpoint_folder
from retrieval.keys.tfidf import DIMENSION, PATTERN, SIGNS, WORDS, fit_tfidf, open_tfidf
from storage.artifacts import artifact

Progress = Callable[[int], object]


def no_progress(count: int) -> None:
    pass


@dataclass(frozen=True)
class KeyEncoder:
    """Texts -> keys.

    name: "bert" or "tfidf". hash: names the encoder's weights and vocabulary.
    made_of: everything a key depends on beside its text, for the names of artifacts.
    dimension: d.
    encode_texts(texts, progress) -> float32 [len(texts), d], progress(count) being called with the number of
    texts that became keys since the last call. A key does not depend on the texts it is encoded with, up to
    rounding.
    spec: JSON from which `open_encoder` opens it again, in another process.
    """

    name: str
    hash: str
    made_of: Mapping[str, Any]
    dimension: int
    encode_texts: Callable[[list[str], Progress], np.ndarray]
    spec: Mapping[str, Any]

    def encode(self, texts: Sequence[str], progress: Progress = no_progress) -> np.ndarray:
        """float32 [len(texts), d]."""
        return self.encode_texts(list(texts), progress)


def open_encoder(spec: Mapping[str, Any]) -> KeyEncoder:
    """The encoder with this `spec`."""
    openers = {"bert": bert_encoder, "tfidf": tfidf_encoder}
    arguments = dict(spec)
    return openers[arguments.pop("name")](**arguments)


def bert_encoder(checkpoint: str | None = None) -> KeyEncoder:
    """A frozen BERT, averaged over time (arXiv 2112.04426, Section 2.3).

    checkpoint: a folder, a Hugging Face hub name, or None for the MiniLM installed with the project, as
    `retrieval.keys.bert_checkpoint` finds it.
    """
    folder = checkpoint is not None and Path(checkpoint).is_dir()
    located = str(Path(checkpoint).resolve()) if folder else checkpoint
    return encoder_of_bert(load_bert(checkpoint_folder(checkpoint)), located)


def encoder_of_bert(bert: Bert, checkpoint: str | None) -> KeyEncoder:
    """`bert_encoder` of a BERT that was loaded from `checkpoint`."""
    return KeyEncoder(
        name="bert",
        hash=bert.hash,
        made_of={"bert": bert.hash, "max_wordpieces": MAX_WORDPIECES},
        dimension=bert.config.hidden_size,
        encode_texts=embedder(bert),
        spec={"name": "bert", "checkpoint": checkpoint},
    )


def tfidf_encoder(folder: str) -> KeyEncoder:
    """TF-IDF as `retrieval.keys.tfidf.fit_tfidf` wrote it into `folder`."""
    digest, embed = open_tfidf(Path(folder))
    return KeyEncoder(
        name="tfidf",
        hash=digest,
        made_of={"tfidf": digest},
        dimension=DIMENSION,
        encode_texts=embed,
        spec={"name": "tfidf", "folder": str(Path(folder).resolve())},
    )


def fitted_tfidf(root: Path, store: TokenStore, tokenizer: Tokenizer) -> KeyEncoder:
    """TF-IDF fitted on the chunks of the training documents of a store, kept as an artifact under `root`."""
    chunks = training_chunks(store)
    inputs = {"store": store_hash(store), "tokenizer": tokenizer.hash, "pattern": PATTERN, "signs": SIGNS}

    def build(folder: Path) -> None:
        fit_tfidf((chunk_text(store, tokenizer, chunk) for chunk in chunks), folder)

    return tfidf_encoder(
        str(artifact(root, "tfidf", inputs | {"words": WORDS, "dimension": DIMENSION}, build))
    )


class Keys:
    """float32 [n, d] by chunk id, on disk: the rows of several `.npy` files, one after another.

    `keys[ids]` (integers of any shape, negative ones counting from the end), `keys[a:b]` and `keys[mask]` are
    copies. A file is mapped only while it is read, so what has been read does not stay in memory. A plain
    array serves wherever a Keys does.

    Raises:
        InputError: a file is missing, damaged, or holds anything else.
    """

    def __init__(self, paths: Sequence[Path], dimension: int):
        self.paths = tuple(Path(path) for path in paths)
        self._dimension = dimension
        self._bounds = [0]
        for path in self.paths:
            self._bounds.append(self._bounds[-1] + len(self._mapped(path)))

    @property
    def shape(self) -> tuple[int, int]:
        return self._bounds[-1], self._dimension

    def __len__(self) -> int:
        return self._bounds[-1]

    def __getitem__(self, which) -> np.ndarray:
        if isinstance(which, slice):
            first, last, step = which.indices(len(self))
            if step == 1:
                return self._rows_between(first, max(first, last))
            which = np.arange(first, last, step)
        ids = np.asarray(which)
        if ids.dtype == bool:
            if ids.shape != (len(self),):
                raise IndexError(f"a mask of shape {ids.shape} for {len(self)} keys")
            ids = np.flatnonzero(ids)
        return self._rows(ids if ids.size else ids.astype(np.int64))

    def _rows_between(self, first: int, last: int) -> np.ndarray:
        keys_nd = np.empty([last - first, self._dimension], np.float32)
        shard, at = bisect.bisect_right(self._bounds, first) - 1, first
        while at < last:
            start, end = self._bounds[shard], min(last, self._bounds[shard + 1])
            if at < end:
                keys_nd[at - first : end - first] = self._mapped(self.paths[shard])[at - start : end - start]
            shard, at = shard + 1, end
        return keys_nd

    def _rows(self, ids: np.ndarray) -> np.ndarray:
        wrapped = np.where(ids < 0, ids + len(self), ids).ravel()
        if len(wrapped) and not (0 <= wrapped.min() and wrapped.max() < len(self)):
            raise IndexError(f"ids from {ids.min()} to {ids.max()} for {len(self)} keys")
        keys_nd = np.empty([len(wrapped), self._dimension], np.float32)
        shards = np.searchsorted(self._bounds, wrapped, side="right") - 1
        order = np.argsort(shards, kind="stable")
        present, starts = np.unique(shards[order], return_index=True)
        for shard, rows in zip(present, np.split(order, starts[1:])):
            keys_nd[rows] = self._mapped(self.paths[shard])[wrapped[rows] - self._bounds[shard]]
        return keys_nd.reshape(*ids.shape, self._dimension)

    def _mapped(self, path: Path) -> np.ndarray:
        try:
            shard = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"The keys {path} are missing or damaged ({error}). Run the command that made them again: "
                "only what is missing is made anew."
            ) from error
        if shard.dtype != np.float32 or shard.shape[1:] != (self._dimension,):
            raise InputError(
                f"{path} holds {shard.dtype} {list(shard.shape)} where keys, float32 [n, {self._dimension}], "
                "are due: it is not of this encoder. Remove its folder and run the command again."
            )
        return shard
