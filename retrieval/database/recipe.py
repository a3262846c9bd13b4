"""How a retrieval database is made from text: its tokenizer, its documents as tokens, what makes its keys."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.documents import Document
from data.duplicates import duplicate_groups
from data.token_store import TokenStore
from data.tokenised import SplitDocuments, all_training, copy_tokenizer, learn_tokenizer, store_tokens
from data.tokenizers import STYLES, Tokenizer
from errors import InputError
from retrieval.database.segments import TEXT_HASH
from retrieval.keys.encoders import KeyEncoder, bert_encoder, fitted_tfidf
from storage.artifacts import fingerprint


@dataclass(frozen=True)
class Recipe:
    """How a database is built.

    tokenizer: `palm` or `gopher`, the manner in which one is trained on the text, or the path of a
    SentencePiece model. vocab_size: of one that is trained, at most. keys: `bert` or `tfidf`. encoder: the
    BERT, None for the MiniLM installed with the project. index: a FAISS factory string, or `auto`. k, spare:
    neighbours in the table, and those kept beyond them.
    """

    tokenizer: str = "palm"
    vocab_size: int = 4096
    keys: str = "bert"
    encoder: str | None = None
    index: str = "auto"
    k: int = 2
    spare: int = 8


def tokenizer_of(root: Path, documents: Sequence[Document], recipe: Recipe) -> Path:
    """The artifact folder of the tokenizer: trained on `documents`, or the one that `recipe` names."""
    if recipe.tokenizer in STYLES:
        inputs = {"texts": texts_hash(documents), "style": recipe.tokenizer, "vocab_size": recipe.vocab_size}
        texts = [document.text for document in documents]
        return learn_tokenizer(root, inputs, lambda: texts, recipe.tokenizer, recipe.vocab_size, at_most=True)
    if Path(recipe.tokenizer).is_file():
        return copy_tokenizer(root, Path(recipe.tokenizer))
    raise InputError(
        f"--tokenizer {recipe.tokenizer} is neither one of {', '.join(STYLES)}, in whose manner one would be "
        "trained, nor the file of a SentencePiece model."
    )


def encoder_of(
    root: Path, keys: str, encoder: str | None, store: TokenStore, tokenizer: Tokenizer
) -> KeyEncoder:
    """What makes keys, by the fields of a `Recipe`; TF-IDF counts the words of the training documents."""
    return fitted_tfidf(root, store, tokenizer) if keys == "tfidf" else bert_encoder(encoder)


def token_store(root: Path, documents: Sequence[Document], tokenizer: Tokenizer) -> TokenStore:
    """The tokens of `documents`, near duplicates in one group; all are training documents."""

    def text() -> SplitDocuments:
        hashes = np.array([text_hash(document.text) for document in documents], np.uint64)
        return all_training(documents, duplicate_groups(documents), {TEXT_HASH: hashes})

    described = [(document.source, document.domain, document.group) for document in documents]
    inputs = {"texts": texts_hash(documents), "documents": fingerprint(described)}
    return store_tokens(root, inputs, tokenizer, text)


def text_hash(text: str) -> int:
    """64 bits by which equal texts are known."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def texts_hash(documents: Sequence[Document]) -> str:
    return fingerprint([hashlib.sha256(document.text.encode()).hexdigest() for document in documents])
