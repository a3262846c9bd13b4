"""From text to everything a model trains on: corpus, split, vocabulary, token store, neighbour table.

Each stage is an artifact named by the hash of what produced it, so a second run finds it and a changed option
remakes only what depends on it.
"""

import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from data.corpora import Corpus, announce, load_corpus, taken
from data.token_store import TokenStore
from data.tokenised import (
    TOKENIZER,
    HeldOut,
    copy_tokenizer,
    learn_tokenizer,
    split_documents,
    store_tokens,
)
from data.tokenizers import STYLES, Tokenizer
from errors import InputError
from processes.start import barrier, is_leader
from retrieval.database.database import MAPPED
from retrieval.database.recipe import encoder_of
from retrieval.index.factory import require_supported
from retrieval.index.index import INDEX
from retrieval.keys.encoders import KeyEncoder, bert_encoder, cut_sentence, cut_share, tfidf_encoder
from retrieval.neighbours.table import (
    NeighbourTable,
    NoNeighbours,
    build_neighbour_table,
    build_training_index,
)
from storage.artifacts import large, name_of, named, read_manifest, require_whole
from storage.json_files import check
from storage.sealed import read_sealed, write_sealed
from studies.run_folder import FILE_NAME as CLAIM
from studies.stages import Stages

SPARE_NEIGHBOURS = 8
FILE_NAME = "data.json"
FORM = {
    "root": str, "tokenizer_name": name_of("tokenizer"), "store_name": name_of("tokens"),
    "index_name": (str, None), "neighbours_name": (str, None), "encoder": (str, None),
    "corpus_hash": str, "skipped": {str: int}, "cut_chunks?": (float, None),
}  # fmt: skip
NO_INDEX = (
    "The text of this run was prepared for a model that does not retrieve, and has no index. Give the folder "
    "of a RETRO that was trained on it."
)
WAY_OUT = "Run the command that made the run again: only what is missing or damaged is made anew."


@dataclass(frozen=True)
class Prepared:
    """What comes out: artifacts by the names of their folders under `root`, each opened when first used, and
    then compared with the hashes of its files; beyond `ALWAYS_COMPARED` bytes, of those that are read whole.

    encoder: the BERT that embeds chunks, None for the MiniLM installed with the project. corpus_hash names
    the documents, skipped counts what could not be read, by reason. tfidf_name: what makes keys where no BERT
    does. index_name, neighbours_name: None where the text was prepared for models that do not retrieve.
    cut_chunks: the share of chunks that are too long for what makes keys, None where older code did not
    look.
    """

    root: Path
    tokenizer_name: str
    store_name: str
    index_name: str | None
    neighbours_name: str | None
    encoder: str | None
    corpus_hash: str
    skipped: Mapping[str, int]
    tfidf_name: str | None = None
    cut_chunks: float | None = None

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self.artifact(self.tokenizer_name) / TOKENIZER)

    @cached_property
    def store(self) -> TokenStore:
        folder = self.artifact(self.store_name)
        made_of = read_manifest(folder)["inputs"]
        if made_of.get("corpus", self.corpus_hash) != self.corpus_hash:
            raise InputError(
                f"{folder} is of the corpus {made_of['corpus']}, and {FILE_NAME} says {self.corpus_hash}: "
                f"one of the two is damaged, or of another run. {WAY_OUT}"
            )
        return TokenStore(folder)

    @cached_property
    def neighbours(self) -> NeighbourTable:
        if self.neighbours_name is None:
            return NoNeighbours(self.store)
        return NeighbourTable(self.artifact(self.neighbours_name), self.store)

    @cached_property
    def key_encoder(self) -> KeyEncoder:
        if self.tfidf_name is not None:
            return tfidf_encoder(str(self.artifact(self.tfidf_name)))
        return bert_encoder(self.encoder)

    @property
    def index_path(self) -> Path:
        if self.index_name is None:
            raise InputError(NO_INDEX)
        return self.artifact(self.index_name) / INDEX

    def artifact(self, name: str, thorough: bool = False) -> Path:
        """The folder of an artifact; InputError where it is missing or damaged. thorough: all its files are
        compared, however large.
        """
        not_compared = () if thorough or not large(self.root / each for each in self._names) else MAPPED
        return require_whole(named(self.root, name), WAY_OUT, not_compared)

    def require_whole(self) -> int:
        """Compares every file with its hash, and returns how many artifacts there are.

        Raises:
            InputError: a file is missing or damaged; the message names it.
        """
        for name in self._names:
            self.artifact(name, thorough=True)
        return len(self._names)

    @property
    def _names(self) -> list[str]:
        names = (
            self.tokenizer_name, self.store_name, self.index_name, self.neighbours_name, self.tfidf_name
        )  # fmt: skip
        return [name for name in names if name is not None]

    def save(self, folder: Path) -> None:
        """Writes the names into `folder`, so that `reopen` finds everything again.

        A root given relative to the working directory is written relative to `folder`: the two may move
        together.
        """
        root = str(self.root)
        if not self.root.is_absolute():
            root = os.path.relpath(self.root.resolve(), folder.resolve())
        names = dataclasses.asdict(self) | {"root": root}
        write_sealed(folder / FILE_NAME, names)


def reopen(folder: Path) -> Prepared:
    """What `Prepared.save` wrote into `folder`.

    Raises:
        InputError: nothing was written there, or something else; what it names may still be missing.
    """
    path = folder / FILE_NAME
    try:
        names = read_sealed(path)
        check(names, FORM)
        for kind in ("index", "neighbours", "tfidf"):
            if names.get(f"{kind}_name") is not None:
                check(names[f"{kind}_name"], name_of(kind), f"{kind}_name")
        return Prepared(**names | {"root": folder / names["root"]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}, which names the tokenizer and the data of this run, is missing or damaged ({error}). "
            "Run the command that made the run again: it writes the file anew and keeps what is trained."
        ) from error


@dataclass(frozen=True)
class Text:
    """What to prepare.

    corpus, max_bytes: as in data.corpora.load_corpus. tokenizer: palm or gopher, the manner of SentencePiece;
    or the path of a SentencePiece model that is there already.
    encoder: the BERT that embeds chunks, None for the MiniLM installed with the project. index: a FAISS
    factory string, or `auto`. num_neighbours: k of the models, 0 where none retrieves. keys: `bert` or
    `tfidf`. held_out: whole packages, or documents.
    """

    corpus: str
    max_bytes: int | None
    tokenizer: str
    vocab_size: int
    encoder: str | None
    index: str
    num_neighbours: int
    keys: str = "bert"
    held_out: HeldOut = "group"


def prepare_for_all(text: Text, root: Path, stages: Stages, folder: Path) -> Prepared:
    """`prepare` by the leader of many processes, which writes the artifacts' names into `folder` for the
    others.

    Raises:
        InputError: a run in `folder` was made from another text.
    """
    if is_leader():
        prepared = prepare(text, root, stages)
        _require_the_same_text(prepared, text.corpus, folder)
        prepared.save(folder)
    barrier("the data is prepared")
    return reopen(folder)


def _require_the_same_text(prepared: Prepared, corpus: str, folder: Path) -> None:
    if not (folder / CLAIM).exists():  # nothing is trained there yet
        return
    try:
        before = reopen(folder)
    except InputError:  # damaged: it is written anew
        return
    if before.corpus_hash != prepared.corpus_hash:
        raise InputError(
            f"--corpus {corpus} has changed since the run in {folder} began: its documents are others. Put "
            "back the text that it was made from, or give another folder with --out."
        )


def prepare(text: Text, root: Path, stages: Stages) -> Prepared:
    """Finds or makes each artifact under `root`."""
    require_supported(text.index)
    with stages.measured("read corpus", may_reuse=False):
        corpus = load_corpus(text.corpus, text.max_bytes)
    announce(text.corpus, corpus, text.max_bytes)
    inputs: dict[str, Any] = {"corpus": corpus.hash}
    with stages.measured("split and de-duplicate"), _budget_named(corpus):
        documents = split_documents(root, inputs, corpus.documents, text.held_out)
    inputs |= {"held_out": text.held_out, "style": text.tokenizer, "vocab_size": text.vocab_size}
    with stages.measured("train tokenizer"), _budget_named(corpus):
        if text.tokenizer in STYLES:
            tokenizer_folder = learn_tokenizer(
                root, inputs, documents.training_texts, text.tokenizer, text.vocab_size
            )
        else:
            tokenizer_folder = copy_tokenizer(root, Path(text.tokenizer))
            del inputs["style"]  # the store is named by the tokenizer itself
        tokenizer = Tokenizer(tokenizer_folder / TOKENIZER)
        if tokenizer.vocab_size > text.vocab_size:
            raise InputError(
                f"The tokenizer {text.tokenizer} has {tokenizer.vocab_size:,} pieces, and the model "
                f"{text.vocab_size:,}: give a larger vocabulary, or another tokenizer."
            )
    with stages.measured("tokenize"):
        store = store_tokens(root, inputs, tokenizer, lambda: documents)
    prepared = Prepared(
        root, tokenizer_folder.name, store.path.name, None, None, None, corpus.hash, dict(corpus.skipped)
    )
    if not text.num_neighbours:
        return prepared
    return retrieving(prepared, stages, text.num_neighbours, text.keys, text.encoder, text.index)


def retrieving(
    prepared: Prepared, stages: Stages, num_neighbours: int, keys: str, bert: str | None, factory: str
) -> Prepared:
    """`prepared` with an index and the neighbours of every chunk: found, or made. The arguments are those of
    `Text`.
    """
    root, store, tokenizer = prepared.root, prepared.store, prepared.tokenizer
    with stages.measured("embed and search"):
        encoder = encoder_of(root, keys, bert, store, tokenizer)
        index = build_training_index(root, store, tokenizer, encoder, factory)
        table = build_neighbour_table(
            root, store, tokenizer, encoder, num_neighbours, SPARE_NEIGHBOURS, factory
        )
        cut = cut_share(store, tokenizer, encoder)
    if warning := cut_sentence(cut):
        print(f"Warning: {warning}", file=sys.stderr)
    return dataclasses.replace(
        prepared,
        index_name=index.name,
        neighbours_name=table.name,
        encoder=_located(bert),
        tfidf_name=Path(encoder.spec["folder"]).name if keys == "tfidf" else None,
        cut_chunks=cut,
    )


@contextmanager
def _budget_named(corpus: Corpus) -> Iterator[None]:
    """Where a text is too small because a budget left most of it, the InputError is to say so."""
    try:
        yield
    except InputError as error:
        if not corpus.is_cut:
            raise
        raise InputError(
            f"{error} Of the corpus a budget took {taken(corpus)}: give a larger --corpus-bytes (where there "
            "is no such option, --preset sets it)."
        ) from error


def _located(encoder: str | None) -> str | None:
    """A folder in full, so that it is found from every working directory; a hub's name as it is."""
    return str(Path(encoder).resolve()) if encoder and Path(encoder).is_dir() else encoder
