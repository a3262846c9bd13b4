"""Which chunks of my text are nearest to this one? A database in a folder, built, searched and changed.

python -m experiments.retrieval build --corpus notes/ --out runs/notes
python -m experiments.retrieval search --database runs/notes --query 'how are ties broken?'
python -m experiments.retrieval add --database runs/notes --corpus more/
python -m experiments.retrieval remove --database runs/notes --document private.txt
python -m experiments.retrieval report --database runs/notes

A million chunks take 9 s to tokenize, 15,300 s to make keys of and 600 s to search for neighbours, on one
core (docs/retrieval.md).
"""

import dataclasses
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
from reports.database import nearest, overview
from reports.search import report
from retrieval.database import changes
from retrieval.database.database import Database
from retrieval.database.recipe import Recipe
from retrieval.index.recall import announce
from studies.prepare import reopen
from studies.run_folder import claim
from studies.stages import Stages

WIDTH = 110


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
    """FAISS factory string, such as `Flat` or `IVF1024,PQ64`; `auto` chooses from the number of chunks."""
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
    """Source of a document, as search names it; may be given several times."""
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


def retrieval(options: Build | Search | Add | Remove | Report) -> None:
    """Does what the verb says and prints what came of it."""
    verbs: dict[type, Callable] = {
        Build: _build, Search: _search, Add: _add, Remove: _remove, Report: _report,
    }  # fmt: skip
    verbs[type(options)](options)


def _build(options: Build) -> None:
    require_positive(options, "vocab_size", "neighbours", "workers")
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


def _search(options: Search) -> None:
    require_positive(options, "neighbours")
    if not options.query or not all(query.strip() for query in options.query):
        raise InputError("--query is empty: there is nothing to search for. Give some text.")
    database = Database(options.database)
    distances, ids = database.search(database.encoder.encode(options.query), options.neighbours)
    for query, distances_k, ids_k in zip(options.query, distances, ids, strict=True):
        print(f"\n{shorten(query, WIDTH)}\n{nearest(database, distances_k, ids_k)}")
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
    changes.remove(options.database, options.document, Stages(options.database).measured)
    print(overview(Database(options.database)))


def _report(options: Report) -> None:
    print(report(Database(options.database), options.database / "report", options.run))


def _tokenizer(name: str) -> str:
    """`name`, or the tokenizer's path where it is the folder of a run."""
    if Path(name).is_file():
        Tokenizer(Path(name))  # refuses what cannot be used, while the database's folder is still free
    if not Path(name).is_dir():
        return name
    run = reopen(Path(name))
    return str(run.root / run.tokenizer_name / TOKENIZER)


VERBS = (
    Annotated[Build, subcommand("build")]
    | Annotated[Search, subcommand("search")]
    | Annotated[Add, subcommand("add")]
    | Annotated[Remove, subcommand("remove")]
    | Annotated[Report, subcommand("report")]
)

if __name__ == "__main__":
    command(retrieval, VERBS, "A retrieval database: build it, search it, change it, measure it.")
