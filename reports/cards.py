"""A model card (Mitchell et al., 2019) and a datasheet (Gebru et al., 2021) for a results file, from what the
file says; what holds for every corpus of a kind comes from the code that reads it.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.duplicates import JACCARD_THRESHOLD
from data.installed import licences
from data.modules import MINIMUM_DOCSTRING_CHARACTERS
from data.ngrams import SHINGLE_WORDS
from data.stdlib import LEFT_OUT_FOLDERS
from reports.forms import TITLES
from reports.section import Section
from reports.tables import github
from reports.templates.fill import template
from reports.words import count, plural

LIBRARIES = {
    "installed": "the packages that requirements.txt pins and Python's standard library",
    "stdlib": "Python's standard library",
}
PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def card(section: Section) -> str:
    """docs/cards/NAME.md."""
    results = section.results
    families = [TITLES.get(family, family) for family in section.families]
    return template("card.md.j2", html=False).render(
        section=section,
        github=github,
        families=" and ".join(filter(None, [", ".join(families[:-1]), families[-1]])),
        changed=any("retrofit" in row["change"] for row in results["rows"] if "change" in row),
        evaluated=_evaluated(results),
        limits=_limits(results),
        environment=results["environment"],
        convention=results["peak"]["convention"],
        licence=tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["license"],
        purpose=_purpose(_option(results, "corpus")),
        composition=_composition(results),
        collection=_collection(results),
        preparation=_preparation(results),
    )


def _option(results: Mapping, name: str) -> Any:
    """An option of the run; None where the file does not say."""
    config = results["config"]
    return config.get("options", config).get(name)


def _evaluated(results: Mapping) -> str:
    corpus = results["corpus"]
    return (
        f"{corpus['evaluated_documents']} of {corpus['validation_documents']} validation documents, "
        f"{corpus['tokens']['evaluated']:,} tokens"
    )


def _limits(results: Mapping) -> list[str]:
    """What the sizes of models, text and seeds forbid to conclude."""
    corpus, rows = results["corpus"], results["rows"]
    parameters, tokens = (max(row[name] for row in rows) for name in ("parameters", "train_tokens"))
    seeds = len({trial["seed"] for row in rows for trial in row.get("cells", [row])})
    limits = [
        f"No model has more than {count(parameters)} parameters, none was trained on more than "
        f"{count(tokens)} tokens: what larger ones would do is not known from here.",
        f"One text and one split, {corpus['tokens']['train']:,} training tokens: another may say otherwise.",
        f"The intervals over seeds come from {plural(seeds, 'seed')}.",
    ]
    if "documents" in results:
        shared_d = np.array([document["shared_ngrams"] for document in results["documents"]])
        threshold = corpus["near_duplicate_threshold"]
        near = f"{int((shared_d >= threshold).sum())} of {len(shared_d)} evaluated documents"
        limits.append(
            f"{near} have {threshold:.0%} or more of their runs of {SHINGLE_WORDS} words in the training "
            "text, where retrieval can copy."
        )
    return limits


def _purpose(corpus: str | None) -> str:
    if corpus in LIBRARIES:
        return f"To train and compare language models on text that is on every machine: {LIBRARIES[corpus]}."
    return f"The file says only that `{corpus}` was given as the corpus."


def _composition(results: Mapping) -> dict[str, str]:
    corpus = results["corpus"]
    parts = {
        "Documents": ", ".join(f"{number:,} {domain}" for domain, number in corpus["documents"].items()),
        "Held out": f"{corpus['validation_documents']} documents, {corpus['evaluated_documents']} of them "
        "evaluated",
        "Tokens": ", ".join(f"{number:,} {part}" for part, number in corpus["tokens"].items()),
        "Bytes per token": f"{corpus['bytes_per_token']:.2f}",
        **_chunks(corpus),
        **_limits_of_neighbours(corpus),
    }
    if "documents" in results:
        sizes = [document["bytes"] for document in results["documents"]]
        parts["Bytes of an evaluated document"] = (
            f"{min(sizes):,} to {max(sizes):,}, half of them {int(np.median(sizes)):,} or less"
        )
    return parts


def _chunks(corpus: Mapping) -> dict[str, str]:
    """Neighbours are found among the chunks of training documents; older files count those of all alone."""
    if "database_chunks" in corpus:
        return {"Chunks of the retrieval database": f"{corpus['database_chunks']:,}"}
    return {"Chunks of the whole text, held-out documents included": f"{corpus['chunks']:,}"}


def _limits_of_neighbours(corpus: Mapping) -> dict[str, str]:
    """As far as the file says."""
    names = {
        "cut_chunks": "Chunks that are longer than what the encoder reads",
        "beside_neighbours": "Held-out tokens that are predicted with neighbours in view",
    }
    return {words: f"{corpus[name]:.1%}" for name, words in names.items() if name in corpus}


def _collection(results: Mapping) -> list[str]:
    corpus = _option(results, "corpus")
    skipped = ", ".join(f"{number} {reason}" for reason, number in results["corpus"]["skipped"].items())
    sentences = [f"Left out because they could not be read: {skipped or 'none'}."]
    if budget := _option(results, "corpus_bytes"):
        sentences.append(
            "Of what is there, whole groups of documents in the order of a hash of their names, up to "
            f"{budget:,} bytes."
        )
    if corpus in LIBRARIES:
        python = results["environment"]["python"]
        sentences = [
            f"From {LIBRARIES[corpus]}, as the Python that ran the command, {python}, has it. Nothing is "
            "imported or run.",
            "A module is a document of domain code; its docstrings together are one of domain docs where "
            f"they have {MINIMUM_DOCSTRING_CHARACTERS} characters or more, and so is each help topic of "
            "pydoc_data and each file of documentation.",
            f"Left out are the folders {', '.join(sorted(LEFT_OUT_FOLDERS))}, and what is written when "
            "Python is built.",
            *sentences,
        ]
    if corpus == "installed":
        named = ", ".join(f"{name} {licence}" for name, licence in licences().items())
        sentences.append(f"Licences of the packages, as their metadata names them: {named}.")
    return sentences


def _preparation(results: Mapping) -> list[str]:
    size, style = _option(results, "vocab_size"), _option(results, "tokenizer")
    manner = f" in the manner of {TITLES.get(style, style)}" if style else ""
    alike = (
        "Documents that are equal, that belong to one group, or whose sets of runs of "
        f"{SHINGLE_WORDS} words have a Jaccard similarity of {JACCARD_THRESHOLD:g} or more, stand on one "
        "side of the split"
    )
    return [
        f"A whole package, or file, is held out, by a hash of its name. {alike}: near duplicates of what is "
        "held out were left out of training."
        if _option(results, "held_out") == "group"
        else f"{alike}, by a hash of their content; duplicates on one side stay.",
        f"A SentencePiece tokenizer of {size:,} pieces{manner}, shared by all models.",
        "Nothing was filtered by quality, and nothing was translated or corrected.",
    ]
