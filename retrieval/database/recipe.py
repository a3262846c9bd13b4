"""How a retrieval database is made from text: its tokenizer, its documents as tokens, what makes its keys."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.documents import Document
from data.duplicates import duplicate_groups
from data.token_store import TokenStore, write_token_store
from data.tokenizers import STYLES, Tokenizer, train_tokenizer
from errors import InputError
from retrieval.database.segments import TEXT_HASH
from retrieval.keys.encoders import KeyEncoder, bert_encoder, fitted_tfidf
from storage.artifacts import artifact, fingerprint

TOKENIZER = "tokenizer.model"


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
    elif Path(recipe.tokenizer).is_file():
        inputs = {"copied": Path(recipe.tokenizer)}
    else:
        raise InputError(
            f"--tokenizer {recipe.tokenizer} is neither one of {', '.join(STYLES)}, in whose manner one "
            "would be trained, nor the file of a SentencePiece model."
        )

    def build(folder: Path) -> None:
        if recipe.tokenizer in STYLES:
            texts = [document.text for document in documents]
            train_tokenizer(
                texts,
                style=recipe.tokenizer,
                vocab_size=recipe.vocab_size,
                path=folder / TOKENIZER,
                at_most=True,
            )
        else:
            Tokenizer(Path(recipe.tokenizer))  # refuses what is no model
            shutil.copyfile(recipe.tokenizer, folder / TOKENIZER)

    return artifact(root, "tokenizer", inputs, build)


def encoder_of(
    root: Path, keys: str, encoder: str | None, store: TokenStore, tokenizer: Tokenizer
) -> KeyEncoder:
    """What makes keys, by the fields of a `Recipe`; TF-IDF counts the words of the training documents."""
    return fitted_tfidf(root, store, tokenizer) if keys == "tfidf" else bert_encoder(encoder)


def token_store(root: Path, documents: Sequence[Document], tokenizer: Tokenizer) -> TokenStore:
    """The tokens of `documents`, near duplicates in one group; all are training documents."""

    def build(folder: Path) -> None:
        write_token_store(
            folder,
            documents,
            tokenizer,
            duplicate_groups(documents),
            np.zeros(len(documents), bool),
            {TEXT_HASH: np.array([text_hash(document.text) for document in documents], np.uint64)},
        )

    described = [(document.source, document.domain, document.group) for document in documents]
    inputs = {
        "texts": texts_hash(documents),
        "documents": fingerprint(described),
        "tokenizer": tokenizer.hash,
    }
    return TokenStore(artifact(root, "tokens", inputs, build))


def text_hash(text: str) -> int:
    """64 bits by which equal texts are known."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def texts_hash(documents: Sequence[Document]) -> str:
    return fingerprint([hashlib.sha256(document.text.encode()).hexdigest() for document in documents])
