"""The keys of a token store, in shards: artifacts of which a killed run loses at most those under way.

Any number of processes may make them, on this machine (`retrieval.workers`) or on a cluster
(`retrieval.cluster`): a shard's bytes depend on its tokens and the encoder alone.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data.artifacts import artifact, artifact_path
from data.token_store import TokenStore
from data.tokenizers import Tokenizer
from errors import InputError
from retrieval.chunks import chunk_text
from retrieval.keys import KeyEncoder, Keys, no_progress, open_encoder
from retrieval.workers import share_out

SHARD = 4096  # chunks
KIND, FILE_NAME = "keys", "keys.npy"


def embed_store(
    root: Path,
    store: TokenStore,
    tokenizer: Tokenizer,
    encoder: KeyEncoder,
    workers: int = 1,
    cluster: str | None = None,
) -> Keys:
    """The keys of every chunk of a store by global id: [total_chunks, d], on disk.

    Shards are artifacts under `root`, named by their tokens: finished ones are reused after a kill, and by
    another store that begins with the same documents.

    Args:
        workers: processes that share the shards among them, and the cores. On an accelerator one is enough:
            it uses all devices.
        cluster: the address of a Ray cluster to share the shards out on instead, as in
            `retrieval.cluster.embed_on_cluster`.

    Raises:
        InputError: workers is less than 1, or a worker was ended from outside.
    """
    if workers < 1:
        raise InputError(f"--workers {workers}: give a whole number of at least 1.")
    shards = Shards(Path(root), store, tokenizer, encoder, SHARD)
    missing = [number for number in range(len(shards)) if not shards.path(number).is_dir()]
    done = shards.total - sum(len(shards.chunks(number)) for number in missing)
    seconds = 0.1 if sys.stderr.isatty() else 15
    with tqdm(
        total=shards.total, initial=done, desc="embedding chunks", unit="chunk", delay=2, mininterval=seconds
    ) as bar:
        if cluster is not None and missing:
            from retrieval.cluster import embed_on_cluster  # Ray is an extra

            embed_on_cluster(cluster, shards.job(), missing, workers, bar.update)
        elif workers > 1 and len(missing) > 1:
            share_out(open_shards, shards.job(), missing, workers, bar.update)
        # What is left, and what is there but damaged.
        paths = [shards.make(number, bar.update) / FILE_NAME for number in range(len(shards))]
    return Keys(paths, encoder.dimension)


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
            np.save(
                folder / FILE_NAME,
                embed_chunks(self.store, self.tokenizer, self.encoder, chunks, progress),
            )

        return artifact(self.root, KIND, self._inputs(number), build)

    def job(self) -> Job:
        paths = (str(Path(path).resolve()) for path in (self.root, self.store.path, self.tokenizer.path))
        return Job(*paths, self.encoder.spec, self.encoder.hash, self.size)

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
