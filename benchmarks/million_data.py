"""A million chunks of installed Python source, and a key for each: some by the encoder, the rest drawn from
those with noise.

The source is the environment's site-packages, the standard library with its tests, and then the environment
of `make bench`, until there are enough chunks. What is under way is kept in artifacts: a killed run resumes.
"""

import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.corpora import load_corpus
from data.documents import Document, rank
from data.token_store import TokenStore
from data.tokenised import TOKENIZER, SplitDocuments, all_training, learn_tokenizer, store_tokens
from data.tokenizers import Tokenizer
from errors import InputError
from retrieval.index.keys import StoredKeys
from retrieval.keys.encoders import KeyEncoder
from retrieval.keys.shards import embed_chunks
from storage.artifacts import artifact

CHUNKS = 2**20
VOCABULARY = 4096
TOKENIZER_BYTES = 2**23
CHARACTERS_PER_CHUNK = 190  # a little more than there are
SHARD = 4096
DRAWN_SHARD = 2**16
BENCHMARKS_ENVIRONMENT = Path(__file__).parents[1] / ".venv-bench"


def sources() -> dict[str, Path]:
    """Folders of Python source by name, in the order in which they are taken."""
    folders = {
        "site-packages": Path(sysconfig.get_path("purelib")),
        "standard library": Path(sysconfig.get_path("stdlib")),
    }
    for folder in BENCHMARKS_ENVIRONMENT.glob("lib/python*/site-packages"):
        folders["site-packages of the benchmarks"] = folder
    return folders


def documents(name: str, folder: Path) -> Iterator[Document]:
    """Every .py file below a folder; the standard library without the packages installed into it."""
    for document in load_corpus(f"{folder}/**/*.py").documents:
        if name != "standard library" or not document.source.startswith("site-packages/"):
            source = f"{name}/{document.source}"
            yield Document(document.text, source, "code", source)


def tokenizer_of(root: Path) -> Tokenizer:
    """Trained on modules of the environment, in an order that has nothing to do with their packages."""

    def texts() -> list[str]:
        name, path = next(iter(sources().items()))
        read, size = [], 0
        for document in sorted(documents(name, path), key=lambda d: rank(d.source)):
            read.append(document.text)
            size += len(document.text)
            if size > TOKENIZER_BYTES:
                break
        return read

    return Tokenizer(learn_tokenizer(root, {"vocabulary": VOCABULARY}, texts, "palm", VOCABULARY) / TOKENIZER)


def store_of(root: Path, tokenizer: Tokenizer) -> TokenStore:
    """Equal files count once; folders are taken in order, a folder's files in an order that has nothing to do
    with their packages, until there are a million chunks.

    The artifact is named by the folders' names, not by their content, so that a package that is installed
    while the benchmark runs changes nothing in the middle.
    """

    def text() -> SplitDocuments:
        kept, seen, characters = [], set(), 0
        for name, path in sources().items():
            before = len(kept)
            for document in sorted(documents(name, path), key=lambda d: rank(d.source)):
                if document.text not in seen and characters < CHUNKS * CHARACTERS_PER_CHUNK:
                    seen.add(document.text)
                    kept.append(document)
                    characters += len(document.text)
            print(f"{name}: {len(kept) - before:,} documents", file=sys.stderr)
        return all_training(kept, groups=np.arange(len(kept)))

    store = store_tokens(root, {"chunks": CHUNKS}, tokenizer, text)
    if store.chunk_offsets[-1] < CHUNKS:
        raise InputError(
            f"The Python source installed here gives {store.chunk_offsets[-1]:,} chunks, and {CHUNKS:,} are "
            "due. Run `make bench` once: the environment that it makes is source as well."
        )
    return store


def embedded_chunks(total: int, count: int) -> np.ndarray:
    """int64 [count]: which chunks the encoder makes keys of; the first of any length are spread over all."""
    return np.random.default_rng(0).permutation(total)[:count]


def embed(
    root: Path, store: TokenStore, tokenizer: Tokenizer, encoder: KeyEncoder, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """(chunks int64 [count], keys float32 [count, d])."""
    chunks = embedded_chunks(int(store.chunk_offsets[-1]), count)
    shards = []
    with tqdm(total=count, desc="embedding", unit="chunk", mininterval=30) as bar:
        for first in range(0, count, SHARD):
            part = chunks[first : first + SHARD]

            def build(folder: Path, part: np.ndarray = part) -> None:
                np.save(folder / "keys.npy", embed_chunks(store, tokenizer, encoder, part))

            inputs = {"store": store.path.name, "encoder": encoder.hash, "chunks": part.tobytes()}
            shards.append(np.load(artifact(root, "real", inputs, build) / "keys.npy"))
            bar.update(len(part))
    return chunks, np.concatenate(shards)


def all_keys(
    root: Path, total: int, chunks: np.ndarray, real_nd: np.ndarray, noise: float, inputs: dict
) -> StoredKeys:
    """A key for every chunk: its own where the encoder made it, else that of an embedded chunk drawn at
    random with Gaussian noise of standard deviation `noise` in every number.
    """
    d = real_nd.shape[1]
    row_of = np.full(total, -1)
    row_of[chunks] = np.arange(len(chunks))
    paths = []
    for first in range(0, total, DRAWN_SHARD):
        rows = row_of[first : first + DRAWN_SHARD]

        def build(folder: Path, rows: np.ndarray = rows, first: int = first) -> None:
            rng = np.random.default_rng([1, first])
            drawn = real_nd[rng.integers(0, len(real_nd), len(rows))]
            drawn += np.float32(noise) * rng.standard_normal([len(rows), d], np.float32)
            np.save(folder / "keys.npy", np.where((rows >= 0)[:, None], real_nd[rows], drawn))

        parts = {**inputs, "first": first, "noise": noise, "embedded": len(chunks)}
        paths.append(artifact(root, "keys", parts, build) / "keys.npy")
    return StoredKeys(paths, d)
