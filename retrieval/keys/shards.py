"""The keys of a token store, a shard of chunks at a time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.token_store import TokenStore
from data.tokenizers import Tokenizer
from errors import InputError
from retrieval.chunks import chunk_text
from retrieval.keys.encoders import KeyEncoder, no_progress, open_encoder
from storage.artifacts import artifact, artifact_path

SHARD = 4096  # chunks
KIND, FILE_NAME = "keys", "keys.npy"


@dataclass(frozen=True)
class Job:
    """What another process opens `Shards` from: absolute paths, the encoder's spec and its hash."""

    root: str
    store: str
    tokenizer: str
    encoder: Mapping[str, Any]
    hash: str
    size: int


@dataclass(frozen=True)
class Shards:
    """The chunks of a store by the `size`, and the artifacts under `root` that hold their keys."""

    root: Path
    store: TokenStore
    tokenizer: Tokenizer
    encoder: KeyEncoder
    size: int

    @property
    def total(self) -> int:
        return int(self.store.chunk_offsets[-1])

    def __len__(self) -> int:
        return -(-self.total // self.size)

    def chunks(self, number: int) -> np.ndarray:
        """int64 [at most size]: the global ids of shard `number`."""
        return np.arange(number * self.size, min((number + 1) * self.size, self.total))

    def path(self, number: int) -> Path:
        """The folder that the shard has, or will have."""
        return artifact_path(self.root, KIND, self._inputs(number))

    def make(self, number: int, progress: Callable[[int], object] = no_progress) -> Path:
        """The folder of the shard, made unless it is there and whole."""

        def build(folder: Path) -> None:
            chunks = self.chunks(number)
            keys_nd = embed_chunks(self.store, self.tokenizer, self.encoder, chunks, progress)
            np.save(folder / FILE_NAME, keys_nd)

        return artifact(self.root, KIND, self._inputs(number), build)

    def job(self) -> Job:
        paths = (self.root, self.store.path, self.tokenizer.path)
        root, store, tokenizer = (str(Path(path).resolve()) for path in paths)
        return Job(root, store, tokenizer, self.encoder.spec, self.encoder.hash, self.size)

    def _inputs(self, number: int) -> dict[str, Any]:
        return {
            "tokens": self.store.chunk_tokens(self.chunks(number)).tobytes(),
            "tokenizer": self.tokenizer.hash,
            **self.encoder.made_of,
        }


def open_shards(job: Job) -> Shards:
    """Raises InputError where the encoder is not the one that the job was made with."""
    encoder = open_encoder(job.encoder)
    if encoder.hash != job.hash:
        raise InputError(
            f"The encoder {dict(job.encoder)} is another one here (hash {encoder.hash[:16]}) than where the "
            f"work was given out ({job.hash[:16]}): its keys would not belong with the others. Bring "
            "the same files and packages to all machines."
        )
    return Shards(
        Path(job.root), TokenStore(Path(job.store)), Tokenizer(Path(job.tokenizer)), encoder, job.size
    )


def embed_chunks(
    store: TokenStore,
    tokenizer: Tokenizer,
    encoder: KeyEncoder,
    chunks: np.ndarray,
    progress: Callable[[int], object] = no_progress,
) -> np.ndarray:
    """The keys of `chunks` (int64 [n] global ids): float32 [n, d]."""
    return encoder.encode([chunk_text(store, tokenizer, chunk) for chunk in chunks], progress)
