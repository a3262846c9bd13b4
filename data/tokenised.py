"""From text to tokens, the one way: documents are split, a tokenizer learns from them, tokens are stored.

Each step is an artifact under one root: `split`, `tokenizer` and `tokens`. The caller gives the inputs that
name it; what it is made from is asked for only where it is not there yet.
"""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data.documents import Document
from data.duplicates import duplicate_groups
from data.ngrams import shared_ngram_fraction
from data.split import split, split_by_package
from data.token_store import TokenStore, write_token_store
from data.tokenizers import Tokenizer, train_tokenizer
from progress import printable
from storage.artifacts import artifact

TOKENIZER = "tokenizer.model"
HeldOut = Literal["group", "document"]
# Verdicts count packages, of which a library has some hundreds: a quarter of them makes sixty or more.
VALIDATION_FRACTION: Mapping[HeldOut, float] = {"group": 0.25, "document": 0.12}


@dataclass(frozen=True)
class SplitDocuments:
    """D documents, each on a side.

    groups: int64 [D], equal for near duplicates. is_validation: bool [D]. columns: what else the token store
    keeps of each document, [D] by name.
    """

    documents: Sequence[Document]
    groups: np.ndarray
    is_validation: np.ndarray
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def training_texts(self) -> list[str]:
        return [d.text for d, held_out in zip(self.documents, self.is_validation) if not held_out]


def split_documents(
    root: Path, inputs: Mapping[str, Any], documents: Sequence[Document], held_out: HeldOut
) -> SplitDocuments:
    """`documents` on two sides, and the share of each held-out one's 13-grams that training documents hold
    too.

    held_out: `group` holds out whole packages, and leaves near duplicates of held-out documents out of the
    training side; `document` holds out whole groups of near duplicates, wherever they come from.
    """

    def build(folder: Path) -> None:
        groups = duplicate_groups(documents)
        fraction = VALIDATION_FRACTION[held_out]
        if held_out == "group":
            is_validation = split_by_package(documents, fraction)
            kept = is_validation | ~np.isin(groups, groups[is_validation])
        else:
            is_validation = split(documents, groups, fraction)
            kept = np.ones(len(documents), bool)
        shared = np.zeros(len(documents))
        shared[kept] = shared_ngram_fraction(
            [document for document, keep in zip(documents, kept) if keep], is_validation[kept]
        )
        columns = {"groups": groups, "is_validation": is_validation, "kept": kept, "shared_ngrams": shared}
        for name, column in columns.items():
            np.save(folder / f"{name}.npy", column)

    inputs = {**inputs, "held_out": held_out, "validation_fraction": VALIDATION_FRACTION[held_out]}
    folder = artifact(root, "split", inputs, build)
    groups, is_validation, kept, shared_ngrams = (
        np.load(folder / f"{name}.npy", allow_pickle=False)
        for name in ("groups", "is_validation", "kept", "shared_ngrams")
    )
    return SplitDocuments(
        [document for document, keep in zip(documents, kept) if keep],
        groups[kept], is_validation[kept], {"shared_ngrams": shared_ngrams[kept]},
    )  # fmt: skip


def all_training(
    documents: Sequence[Document], groups: np.ndarray, columns: Mapping[str, np.ndarray] | None = None
) -> SplitDocuments:
    """`documents` without a held-out side."""
    return SplitDocuments(documents, groups, np.zeros(len(documents), bool), columns or {})


def learn_tokenizer(
    root: Path,
    inputs: Mapping[str, Any],
    texts: Callable[[], Sequence[str]],
    style: str,
    vocab_size: int,
    at_most: bool = False,
) -> Path:
    """The artifact folder of a tokenizer trained as in `data.tokenizers.train_tokenizer`."""

    def build(folder: Path) -> None:
        path = folder / TOKENIZER
        train_tokenizer(texts(), style=style, vocab_size=vocab_size, path=path, at_most=at_most)

    return artifact(root, "tokenizer", inputs, build)


def copy_tokenizer(root: Path, model: Path) -> Path:
    """The artifact folder of the tokenizer in a file; InputError where that is no SentencePiece model."""

    def build(folder: Path) -> None:
        Tokenizer(model)  # refuses what is no model
        shutil.copyfile(model, folder / TOKENIZER)

    return artifact(root, "tokenizer", {"copied": model}, build)


def store_tokens(
    root: Path, inputs: Mapping[str, Any], tokenizer: Tokenizer, text: Callable[[], SplitDocuments]
) -> TokenStore:
    """The token store of `text`, named by `inputs` and the tokenizer."""

    def build(folder: Path) -> None:
        read = text()
        write_token_store(folder, read.documents, tokenizer, read.groups, read.is_validation, read.columns)

    store = TokenStore(artifact(root, "tokens", {**inputs, "tokenizer": tokenizer.hash}, build))
    if not tokenizer.has_bytes:
        _say_what_is_unknown(store, tokenizer)
    return store


def _say_what_is_unknown(store: TokenStore, tokenizer: Tokenizer) -> None:
    """On stderr: how much of a text a tokenizer without bytes has no piece for."""
    places = np.flatnonzero(store.tokens == tokenizer.unk_id)
    if len(places):
        documents = np.unique(np.searchsorted(store.offsets, places, side="right") - 1)
        said = (
            f"left out: {len(places):,} stretches of text, in {len(documents):,} of {store.num_documents:,} "
            f"documents, the first in {store.sources[documents[0]]}: the tokenizer {tokenizer.path} has no "
            "piece for their characters, and no bytes. Chunks are found and shown without them; a model that "
            "was trained with byte_fallback=true keeps every character."
        )
        print(printable(said, kept=""), file=sys.stderr)
