"""Which chunks of my text are nearest to this one? A database in a folder, built, searched and changed.

python -m experiments.retrieval build --corpus notes/ --out runs/notes
python -m experiments.retrieval search --database runs/notes --query 'how are ties broken?'
python -m experiments.retrieval add --database runs/notes --corpus more/
python -m experiments.retrieval remove --database runs/notes --document private.txt
python -m experiments.retrieval report --database runs/notes
python -m experiments.retrieval verify --database runs/notes

A million chunks take 9 s to tokenize, 15,300 s to make keys of and 600 s to search for neighbours, on one
core (docs/retrieval.md).
"""

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Literal

from tyro.conf import UseAppendAction, subcommand

from command import command, require_positive
from data.tokenised import TOKENIZER
from data.tokenizers import Tokenizer
from data.united import united
from errors import InputError
from progress import printable
from reports.database import nearest, overview
from reports.search import report
from retrieval.database import changes
from retrieval.database.database import Database
from retrieval.database.recipe import Recipe
from retrieval.database.version import own
from retrieval.index.recall import announce
from retrieval.keys.encoders import cut_sentence, cut_share
from studies.prepare import reopen
from studies.run_folder import claim
from studies.stages import Stages

WIDTH = 110
MOST_PIECES = 2**22  # of which published tokenizers have up to 2**18
MOST_NEIGHBOURS = 1000  # which every chunk has a place for in the table


@dataclass(frozen=True)
class Build:
    """From text to tokens, keys, index and neighbour table; the same command resumes where it stopped."""

    corpus: UseAppendAction[tuple[str, ...]]
    """`stdlib`, a path, a quoted glob, or hf:NAME[:CONFIG]; may be given several times."""
    out: Path = Path("runs/retrieval")
    """Folder of the database."""
    corpus_bytes: int | None = None
    """Text taken from each corpus, at most."""
    tokenizer: str = "palm"
    """SentencePiece trained on the text in the manner of `palm` or `gopher`, the path of a model, or the
    folder of a trained run, such as runs/compare/retro/seed-0, whose tokenizer it takes."""
    vocab_size: int = 4096
    """Pieces of a tokenizer that is trained, at most."""
    keys: Literal["bert", "tfidf"] = "bert"
    """What chunks are found by: a frozen BERT, averaged over time, or TF-IDF."""
    encoder: str | None = None
    """BERT that makes keys: a folder or a Hugging Face name. Default: the MiniLM installed with the
    project."""
    index: str = "auto"
    """FAISS factory string, such as `Flat` or `IVF1024,PQ64` (docs/retrieval.md); `auto` chooses from the
    number of chunks."""
    neighbours: int = 2
    """Neighbours of each chunk in the table."""
    workers: int = 1
    """Processes that make keys."""
    cluster: str | None = None
    """Address of a Ray cluster whose processes make keys instead; `local` starts one on this machine."""


@dataclass(frozen=True)
class Search:
    """The chunks nearest to a text."""

    query: UseAppendAction[tuple[str, ...]]
    """Text to search for; may be given several times."""
    database: Path = Path("runs/retrieval")
    """Folder of the database."""
    neighbours: int = 5
    """Chunks for each query."""


@dataclass(frozen=True)
class Add:
    """Documents that are not there yet, without building again."""

    corpus: UseAppendAction[tuple[str, ...]]
    """As for build."""
    database: Path = Path("runs/retrieval")
    """Folder of the database."""
    workers: int = 1
    """Processes that make keys."""


@dataclass(frozen=True)
class Remove:
    """Documents that nothing may retrieve any more; their text is overwritten."""

    document: UseAppendAction[tuple[str, ...]]
    """Source of a document, as search names it, or a file that was cut into several; may be given several
    times."""
    database: Path = Path("runs/retrieval")
    """Folder of the database."""


@dataclass(frozen=True)
class Report:
    """Recall, speed and cost of the index, as a page with plots in the database's folder."""

    database: Path = Path("runs/retrieval")
    """Folder of the database."""
    run: Path | None = None
    """Folder of a trained RETRO, such as runs/compare/retro/seed-0: what lost recall costs it in bits per
    byte, on its own held-out text."""


@dataclass(frozen=True)
class Verify:
    """Whether every file is as it was made, by its hash; exit code 2 and their names where some are not."""

    database: Path | None = None
    """Folder of a database. Default: runs/retrieval, unless a run is given."""
    run: Path | None = None
    """Folder of a trained model, such as runs/compare/retro/seed-0: the data that it was made from."""


def retrieval(options: Build | Search | Add | Remove | Report | Verify) -> None:
    """Does what the verb says and prints what came of it."""
    verbs: dict[type, Callable] = {
        Build: _build, Search: _search, Add: _add, Remove: _remove, Report: _report, Verify: _verify,
    }  # fmt: skip
    verbs[type(options)](options)


def _build(options: Build) -> None:
    require_positive(options, "vocab_size", "neighbours", "workers", "corpus_bytes")
    for name, value, most in (
        ("vocab-size", options.vocab_size, MOST_PIECES),
        ("neighbours", options.neighbours, MOST_NEIGHBOURS),
    ):
        if value > most:
            raise InputError(f"--{name} {value}: give a whole number of at most {most:,}.")
    recipe = Recipe(
        _tokenizer(options.tokenizer),
        options.vocab_size,
        options.keys,
        options.encoder,
        options.index,
        options.neighbours,
    )
    stages = Stages(options.out)
    with stages.measured("read corpus", may_reuse=False):
        documents, corpora = united(options.corpus, options.corpus_bytes)
    claim(options.out, {"corpora": corpora, **dataclasses.asdict(recipe)})
    changes.build(options.out, documents, recipe, options.workers, options.cluster, stages.measured)
    database = Database(options.out)
    print(overview(database))
    if database.version.recall is not None:
        announce(database.version.recall)
    if warning := cut_sentence(cut_share(database.documents, database.tokenizer, database.encoder)):
        print(f"Warning: {warning}", file=sys.stderr)


def _search(options: Search) -> None:
    require_positive(options, "neighbours")
    if not options.query or not all(query.strip() for query in options.query):
        raise InputError("--query is empty: there is nothing to search for. Give some text.")
    for query in options.query:
        _require_unicode(query)
    database = Database(options.database)
    k = min(options.neighbours, int(database.documents.chunk_offsets[-1]))
    distances, ids = database.search(database.encoder.encode(options.query), k)
    for query, distances_k, ids_k in zip(options.query, distances, ids, strict=True):
        print(f"\n{printable(shorten(query, WIDTH))}\n{nearest(database, distances_k, ids_k)}")
    print(f"\n{overview(database)}")


def _add(options: Add) -> None:
    require_positive(options, "workers")
    number = Database(options.database).version.number
    stages = Stages(options.database)
    with stages.measured("read corpus", may_reuse=False):
        documents, _ = united(options.corpus, None)
    version = changes.add(options.database, documents, options.workers, stages.measured)
    if version.number == number:
        print("Every document was there already: nothing is changed.")
    print(overview(Database(options.database)))


def _remove(options: Remove) -> None:
    if not options.document:
        raise InputError("--document is missing: name the source of at least one, as search does.")
    number = Database(options.database).version.number
    version = changes.remove(options.database, options.document, Stages(options.database).measured)
    if version.number == number:
        print("These documents were removed already.")
    print(overview(Database(options.database)))


def _report(options: Report) -> None:
    print(report(Database(options.database), own(options.database, "report"), options.run))


def _verify(options: Verify) -> None:
    if options.run is not None:
        print(printable(f"{options.run}: {reopen(options.run).require_whole()} artifacts are whole."))
    if options.database is not None or options.run is None:
        database = Database(options.database or Path("runs/retrieval"))
        count = database.require_whole()
        print(f"{overview(database)}\nAll {count} artifacts are whole.")


def _require_unicode(query: str) -> None:
    try:
        query.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"--query: character {error.start} is {ascii(query[error.start])}, half of a surrogate pair or a "
            "byte that is not UTF-8. Leave it out, or give the text in UTF-8."
        ) from error


def _tokenizer(name: str) -> str:
    """`name`, or the tokenizer's path where it is the folder of a run."""
    if Path(name).is_file():
        Tokenizer(Path(name))  # refuses what cannot be used, while the database's folder is still free
    if not Path(name).is_dir():
        return name
    run = reopen(Path(name))
    return str(run.artifact(run.tokenizer_name) / TOKENIZER)


VERBS = (
    Annotated[Build, subcommand("build")]
    | Annotated[Search, subcommand("search")]
    | Annotated[Add, subcommand("add")]
    | Annotated[Remove, subcommand("remove")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Verify, subcommand("verify")]
)

if __name__ == "__main__":
    command(retrieval, VERBS, "A retrieval database: build it, search it, change it, measure it, verify it.")
