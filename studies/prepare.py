"""From text to everything a model trains on: corpus, split, vocabulary, token store, neighbour table.

Each stage is an artifact named by the hash of what produced it, so a second run finds it and a changed option
remakes only what depends on it.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from data.corpora import load_corpus
from data.duplicates import duplicate_groups
from data.ngrams import shared_ngram_fraction
from data.split import split
from data.token_store import TokenStore, write_token_store
from data.tokenizers import Tokenizer, train_tokenizer
from errors import InputError
from processes.start import barrier, is_leader
from retrieval.database.recipe import TOKENIZER, encoder_of
from retrieval.index.index import INDEX
from retrieval.keys.encoders import KeyEncoder, bert_encoder, tfidf_encoder
from retrieval.neighbours.table import NeighbourTable, build_neighbour_table, build_training_index
from storage.artifacts import artifact
from storage.files import write_atomic
from studies.stages import Stages

VALIDATION_FRACTION = 0.12
SPARE_NEIGHBOURS = 8
FILE_NAME = "data.json"


@dataclass(frozen=True)
class Prepared:
    """What comes out: artifacts by the names of their folders under `root`, each opened when first used.

    encoder: the BERT that embeds chunks, None for the MiniLM installed with the project. corpus_hash names
    the documents, skipped counts what could not be read, by reason. tfidf_name: what makes keys where no BERT
    does.
    """

    root: Path
    tokenizer_name: str
    store_name: str
    index_name: str
    neighbours_name: str
    encoder: str | None
    corpus_hash: str
    skipped: Mapping[str, int]
    tfidf_name: str | None = None

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self.root / self.tokenizer_name / TOKENIZER)

    @cached_property
    def store(self) -> TokenStore:
        return TokenStore(self.root / self.store_name)

    @cached_property
    def neighbours(self) -> NeighbourTable:
        return NeighbourTable(self.root / self.neighbours_name, self.store)

    @cached_property
    def key_encoder(self) -> KeyEncoder:
        if self.tfidf_name is not None:
            return tfidf_encoder(str(self.root / self.tfidf_name))
        return bert_encoder(self.encoder)

    @property
    def index_path(self) -> Path:
        return self.root / self.index_name / INDEX

    def save(self, folder: Path) -> None:
        """Writes the names into `folder`, so that `reopen` finds everything again.

        A root given relative to the working directory is written relative to `folder`: the two may move
        together.
        """
        root = self.root
        if not root.is_absolute():
            root = os.path.relpath(root.resolve(), folder.resolve())
        names = dataclasses.asdict(self) | {"root": str(root)}
        write_atomic(folder / FILE_NAME, json.dumps(names, indent=1))


def reopen(folder: Path) -> Prepared:
    """What `Prepared.save` wrote into `folder`.

    Raises:
        InputError: nothing was written there, or something else; what it names may still be missing.
    """
    path = folder / FILE_NAME
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
        return Prepared(**names | {"root": folder / names["root"]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}, which names the tokenizer and the data of this run, is missing or damaged ({error}). "
            "Run the command that made the run again: it writes the file anew and keeps what is trained."
        ) from error


@dataclass(frozen=True)
class Text:
    """What to prepare.

    corpus, max_bytes: as in data.corpora.load_corpus. tokenizer: palm or gopher, the manner of SentencePiece.
    encoder: the BERT that embeds chunks, None for the MiniLM installed with the project. index: a FAISS
    factory string, or `auto`. num_neighbours: k of the models. keys: `bert` or `tfidf`.
    """

    corpus: str
    max_bytes: int | None
    tokenizer: str
    vocab_size: int
    encoder: str | None
    index: str
    num_neighbours: int
    keys: str = "bert"


def prepare_for_all(wanted: Text, root: Path, stages: Stages, folder: Path) -> Prepared:
    """`prepare` by the leader of many processes, which writes the artifacts' names into `folder` for the
    others.
    """
    if is_leader():
        prepare(wanted, root, stages).save(folder)
    barrier("the data is prepared")
    return reopen(folder)


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
            training, style=wanted.tokenizer, vocab_size=wanted.vocab_size, path=folder / TOKENIZER
        )

    inputs = inputs | {"style": wanted.tokenizer, "vocab_size": wanted.vocab_size}
    with stages.measured("train tokenizer"):
        tokenizer_folder = artifact(root, "tokenizer", inputs, build_tokenizer)
        tokenizer = Tokenizer(tokenizer_folder / TOKENIZER)

    def build_store(folder: Path) -> None:
        write_token_store(folder, text.documents, tokenizer, groups, is_validation, {"shared_ngrams": shared})

    with stages.measured("tokenize"):
        store = TokenStore(artifact(root, "tokens", inputs | {"tokenizer": tokenizer.hash}, build_store))

    with stages.measured("embed and search"):
        encoder = encoder_of(root, wanted.keys, wanted.encoder, store, tokenizer)
        index = build_training_index(root, store, tokenizer, encoder, wanted.index)
        table = build_neighbour_table(
            root, store, tokenizer, encoder, wanted.num_neighbours, SPARE_NEIGHBOURS, wanted.index
        )
    folders = (tokenizer_folder, store.path, index, table)
    return Prepared(
        root, *(folder.name for folder in folders), _located(wanted.encoder), text.hash, dict(text.skipped),
        Path(encoder.spec["folder"]).name if wanted.keys == "tfidf" else None,
    )  # fmt: skip


def _located(encoder: str | None) -> str | None:
    """A folder in full, so that it is found from every working directory; a hub's name as it is."""
    return str(Path(encoder).resolve()) if encoder and Path(encoder).is_dir() else encoder
