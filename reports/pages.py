"""docs/results.md, docs/report.html, the cards and the tables of pages by hand, from sections alone."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from judging.intervals import RESAMPLES
from judging.verdicts import EQUAL_WITHIN, NULL_DRAWS, SEEDS_FOR_A_VERDICT
from reports import plots
from reports.cards import card, has_card
from reports.comparison.page import markdown_table
from reports.sections import Section, command_of, run_of
from reports.tables import Table, github, table_of
from reports.templates.fill import template
from storage.files import write_atomic

WORDS = ("the paper", "verdict", "command", "a is", "chips, as published")  # columns of prose
TERMS = {
    "Bits per byte": "the loss on held-out text in bits, summed over its tokens and divided by its UTF-8 "
    "bytes. It can be compared between tokenizers; less is better.",
    "Difference": "a row minus the row that it is against. Both were trained from the same seeds on the same "
    "batches and are read on the same documents, so it is known far better than either number.",
    "The two intervals": "95 % each. Over seeds: Student's t on the paired differences of the seeds; would "
    f"other seeds say the same? Over documents: held-out documents drawn again with replacement, "
    f"{RESAMPLES:,} times; would other documents?",
    "Verdict": "what a paper says is reproduced or opposite where both intervals exclude zero, and otherwise "
    "cannot be told at this size. Where a paper says that two are equal, both intervals have to lie within "
    f"±{EQUAL_WITHIN:g} bits per byte. On fewer than {SEEDS_FOR_A_VERDICT} finished seeds nothing is said; a "
    "row that diverged is called that, and the seeds that did not are no excuse.",
    "Could see": "the larger half-width of the two intervals: a difference smaller than that could not have "
    "been told from zero, so “cannot tell” says no more than that it is not larger.",
    "Gain": "the same trained model read with its neighbours minus without them. Without near-duplicates: on "
    "the documents of which less than a given share of 13-grams occurs in the training text. By the gain: "
    "the verdict on the difference of two models' gains. Two trainings differ by chance in their losses "
    "with and without neighbours alike, which the gain leaves out; it says what retrieval is worth, not "
    "which model predicts better.",
    "Null check": f"the published form under other seeds against itself, in {NULL_DRAWS} random divisions of "
    "its seeds on documents drawn with replacement. A 95 % interval is wrong in one of twenty; the divisions "
    "share the same models, so they tend to be right or wrong together.",
    "Many rows": "verdicts are not corrected for the number of rows: among forty that do not differ, one or "
    "two may be called different. Look at how large a difference is, too.",
    "FLOPs, MFU, memory": "FLOPs are those of the model (6N + 12LHKT, PaLM appendix B), retrieval included; "
    "MFU is against the machine's own measured rate of matrix products; MiB is the largest resident memory "
    "of a cell's process.",
}


def write(made: Mapping[str, str], docs: Path) -> None:
    """Makes the files below `docs` those of `made`; cards of runs that are no more are removed."""
    (docs / "cards").mkdir(parents=True, exist_ok=True)
    for path in differing(made, docs):
        content = made.get(path.relative_to(docs).as_posix())
        if content is None:
            path.unlink()
        else:
            write_atomic(path, content)


def differing(made: Mapping[str, str], docs: Path) -> list[Path]:
    """The files below `docs` that are missing or differ from `made`, and cards of runs that are no more."""
    wrong = [docs / name for name, content in made.items() if _read(docs / name) != content.encode()]
    stale = [path for path in sorted((docs / "cards").glob("*.md")) if f"cards/{path.name}" not in made]
    return wrong + stale


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def pages(found: Sequence[Section]) -> dict[str, str]:
    """Every page of these sections by its path below docs: the same give the same text, byte for byte."""
    carded = [section for section in found if has_card(section.results)]
    given = {
        "sections": found, "carded": carded, "counted": _counted(found), "runs": _runs(found), "terms": TERMS,
        "github": github, "plots": plots, "run_of": run_of, "set_up": set_up, "from_docs": _from_docs,
        "words": WORDS,
    }  # fmt: skip
    cards = {f"cards/{section.name}.md": card(section) for section in carded}
    return {
        "results.md": _tidy(template("results.md.j2", html=False).render(given)),
        "report.html": template("results.html.j2", html=True).render(given) + "\n",
        **{name: _tidy(text) for name, text in cards.items()},
    }


def with_tables(text: str, found: Sequence[Section]) -> str:
    """A page by hand (README.md, docs/findings.md) with the tables of `found` between `<!-- NAME: … -->` and
    `<!-- end -->`: of the models compared, their differences, the leakage, the papers' directions.
    """
    compared = next((section for section in found if section.name == "compare"), None)
    parts = markdown_table(compared.results).strip().split("\n\n") if compared else []
    tables = dict(zip(("compare", "differences", "leakage"), parts))
    if counted := _counted(found):
        tables["directions"] = str(github(counted)).strip()
    for name, table in tables.items():
        place = rf"(<!-- {name}: [^\n]*-->\n).*?(?=\n<!-- end -->)"
        text = re.sub(place, lambda match, table=table: match[1] + table, text, flags=re.DOTALL)
    return text


def _tidy(markdown: str) -> str:
    """No more than one empty line in a row, and none at the end."""
    return re.sub(r"\n{3,}", "\n\n", markdown).strip() + "\n"


def _counted(found: Sequence[Section]) -> Table | None:
    """What became of the papers' directions, a row per file that has any."""
    rows = [{"table": section.title, **section.counts} for section in found if section.counts]
    return table_of("What became of the papers' directions", rows) if rows else None


def _runs(found: Sequence[Section]) -> Table:
    """A row per file."""
    fields = ("commit", "date", "python", "jax", "device", "cores", "corpus_hash")
    rows = [
        {
            "file": f"{section.name}/results.json",
            "command": command_of(section),
            **{name.replace("_", " "): section.results["environment"].get(name, "–") for name in fields},
        }
        for section in found
    ]
    return table_of("Every run", rows)


def set_up(section: Section) -> dict[str, Mapping[str, Any]]:
    """What the page lists of a run, by heading."""
    results = section.results
    config = results["config"].get("options", results["config"])
    found = {"Options": config, "Machine and versions": results["environment"]}
    return found | {name.capitalize(): results[name] for name in ("corpus", "peak") if name in results}


def _from_docs(target: str) -> str:
    """A path of the repository as a link of a page in docs."""
    return target.removeprefix("docs/") if target.startswith("docs/") else f"../{target}"
