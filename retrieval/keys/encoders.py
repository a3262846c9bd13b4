"""The encoders, which make keys (what a chunk is found by, float32 [n, d]) from texts.

Shape suffixes: n texts or chunks, d the encoder's dimension.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data.token_store import Chunked, TokenStore
from data.tokenizers import Tokenizer
from models.bert.load import load_bert
from models.bert.model import Bert
from retrieval.chunks import chunk_text, store_hash, training_chunks
from retrieval.keys.bert import MAX_WORDPIECES, are_cut, embedder
from retrieval.keys.bert_checkpoint import checkpoint_folder
from retrieval.keys.tfidf import DIMENSION, PATTERN, SIGNS, WORDS, fit_tfidf, open_tfidf
from storage.artifacts import artifact

LOOKED_AT = 1024  # chunks: a share of them is known to 0.03


def no_progress(count: int) -> None:
    pass


def none_is_cut(texts: list[str]) -> np.ndarray:
    return np.zeros(len(texts), bool)


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
    are_cut(texts) -> bool [len(texts)]: those of which only the beginning makes the key.
    """

    name: str
    hash: str
    made_of: Mapping[str, Any]
    dimension: int
    encode_texts: Callable[[list[str], Callable[[int], object]], np.ndarray]
    spec: Mapping[str, Any]
    are_cut: Callable[[list[str]], np.ndarray] = none_is_cut

    def encode(self, texts: Sequence[str], progress: Callable[[int], object] = no_progress) -> np.ndarray:
        """float32 [len(texts), d]."""
        return self.encode_texts(list(texts), progress)


def cut_share(store: Chunked, tokenizer: Tokenizer, encoder: KeyEncoder) -> float:
    """The share of a store's chunks that `encoder` reads the beginning of alone, by up to 1,024 of them that
    stand evenly in it.
    """
    total = int(store.chunk_offsets[-1])
    chunks = np.linspace(0, total - 1, min(total, LOOKED_AT)).astype(np.int64)
    return float(np.mean(encoder.are_cut([chunk_text(store, tokenizer, chunk) for chunk in chunks])))


def cut_sentence(share: float) -> str:
    """What is to be said of that share: nothing below one chunk in twenty."""
    if share < 0.05:
        return ""
    return (
        f"{share:.0%} of the chunks have more wordpieces than the {MAX_WORDPIECES} that the encoder reads at "
        "most, and are found by their beginnings alone: an encoder of the text's language needs fewer "
        "(--encoder)."
    )


def open_encoder(spec: Mapping[str, Any]) -> KeyEncoder:
    """The encoder with this `spec`."""
    openers: dict[str, Callable[..., KeyEncoder]] = {"bert": bert_encoder, "tfidf": tfidf_encoder}
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
        are_cut=partial(are_cut, bert),
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
