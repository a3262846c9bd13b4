"""From text to everything a model trains on: corpus, split, vocabulary, token store, neighbour table.

Each stage is an artifact named by the hash of what produced it, so a second run finds it and a changed option
remakes only what depends on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.artifacts import artifact
from data.corpora import load_corpus
from data.duplicates import duplicate_groups, shared_ngram_fraction, split
from data.token_store import TokenStore, write_token_store
from data.tokenizers import Tokenizer, train_tokenizer
from experiments.stages import Stages
from models.bert.load import load_bert
from retrieval.neighbours import NeighbourTable, build_neighbour_table

VALIDATION_FRACTION = 0.12
SPARE_NEIGHBOURS = 8


@dataclass(frozen=True)
class Prepared:
    """What comes out. corpus_hash names the documents, skipped counts what could not be read, by reason."""

    store: TokenStore
    tokenizer: Tokenizer
    neighbours: NeighbourTable
    corpus_hash: str
    skipped: Mapping[str, int]


@dataclass(frozen=True)
class Text:
    """What to prepare.

    corpus, max_bytes: as in data.corpora.load_corpus. tokenizer: palm or gopher, the manner of SentencePiece.
    encoder: the BERT that embeds chunks, None for the MiniLM installed with the project. index: a FAISS
    factory string. num_neighbours: k of the models.
    """

    corpus: str
    max_bytes: int | None
    tokenizer: str
    vocab_size: int
    encoder: str | None
    index: str
    num_neighbours: int


def prepare(wanted: Text, root: Path, stages: Stages) -> Prepared:
    """Finds or makes each artifact under `root`."""
    with stages.measured("read corpus", may_reuse=False):
        text = load_corpus(wanted.corpus, wanted.max_bytes)

    def build_split(folder: Path) -> None:
        groups = duplicate_groups(text.documents)
        is_validation = split(text.documents, groups, VALIDATION_FRACTION)
        np.save(folder / "groups.npy", groups)
        np.save(folder / "is_validation.npy", is_validation)
        np.save(folder / "shared_ngrams.npy", shared_ngram_fraction(text.documents, is_validation))

    inputs = {"corpus": text.hash, "validation_fraction": VALIDATION_FRACTION}
    with stages.measured("split and de-duplicate"):
        folder = artifact(root, "split", inputs, build_split)
        groups, is_validation, shared = (
            np.load(folder / f"{name}.npy", allow_pickle=False)
            for name in ("groups", "is_validation", "shared_ngrams")
        )

    def build_tokenizer(folder: Path) -> None:
        training = [
            document.text for document, held_out in zip(text.documents, is_validation) if not held_out
        ]
        train_tokenizer(
            training, style=wanted.tokenizer, vocab_size=wanted.vocab_size, path=folder / "tokenizer.model"
        )

    inputs = inputs | {"style": wanted.tokenizer, "vocab_size": wanted.vocab_size}
    with stages.measured("train tokenizer"):
        tokenizer = Tokenizer(artifact(root, "tokenizer", inputs, build_tokenizer) / "tokenizer.model")

    def build_store(folder: Path) -> None:
        write_token_store(folder, text.documents, tokenizer, groups, is_validation, {"shared_ngrams": shared})

    with stages.measured("tokenize"):
        store = TokenStore(artifact(root, "tokens", inputs | {"tokenizer": tokenizer.hash}, build_store))

    with stages.measured("embed and search"):
        bert = load_bert(wanted.encoder)
        table = build_neighbour_table(
            root, store, tokenizer, bert, wanted.num_neighbours, SPARE_NEIGHBOURS, wanted.index
        )
        neighbours = NeighbourTable(table, store)
    return Prepared(store, tokenizer, neighbours, text.hash, dict(text.skipped))
