"""The pages of all runs together, from sections alone: docs/results.md, docs/report.html, the cards, and the
tables of pages by hand. (report.html in the folder of a run is made by reports/comparison/page.py.)
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.documents import encodable
from judging.margin import EQUAL_SHARE, YARDSTICK
from judging.null_check import DRAWS
from judging.verdicts import DRAWS_FOR_A_VERDICT, GROUPS_FOR_A_VERDICT, SEEDS_FOR_A_VERDICT
from reports import plots
from reports.cards import card
from reports.section import Section
from reports.tables import Table, filled, github, table_of
from reports.templates.fill import template
from storage.files import write_atomic

TERMS = {
    "Bits per byte": "the loss on held-out text in bits, summed over its tokens and divided by its UTF-8 "
    "bytes. It can be compared between tokenizers; less is better.",
    "Difference": "a row minus the row that it is against. Both were trained from the same seeds on the same "
    "batches and evaluated on the same documents, so it is known far better than either number.",
    "The intervals": "95 % each. Over seeds: Student's t on the paired differences of the seeds; would other "
    "seeds say the same? Over groups: held-out documents come in groups, the modules of a package or one "
    "article, and each group in turn is left out (jackknife), with Student's t on as many groups of one size "
    "as carry as much; would other packages? Over draws, where a database is a share of the documents: would "
    "other documents? Over all: each of these holds the others as they fell, so their errors are also added "
    "up (in squares, on Welch's degrees of freedom). Nothing here is drawn by a seed, so the same losses "
    "give the same verdict. Older runs of the comparison have a bootstrap over single documents instead.",
    "Verdict": "what a paper says is reproduced or opposite where every interval excludes zero, and "
    f"otherwise undecided (“cannot tell at this size”). On fewer than {SEEDS_FOR_A_VERDICT} finished seeds, "
    f"{GROUPS_FOR_A_VERDICT} groups or {DRAWS_FOR_A_VERDICT} draws nothing is said; a row that diverged is "
    "called that, and the seeds that did not are no excuse. Rows that were chosen from a table have no "
    "verdict of it: one may choose them, and their seeds, by what the table said.",
    "Equal": "where a paper says that two are equal, every interval has to lie within a margin, "
    f"{EQUAL_SHARE:.0%} of the effect that the table is about: what its reference gains by its neighbours, "
    f"or in a table without retrieval the difference of the row {YARDSTICK}. Outside of it in every interval "
    "is the opposite. Where that effect is itself undecided there is no margin, and no verdict.",
    "Beyond another's difference": "a difference minus that of another row, where a paper says that "
    "something matters more in one place than in another; the verdict is then on this.",
    "Detectable": "the smallest detectable difference, the largest half-width of the intervals: a smaller "
    "one could not have been distinguished from zero, so “cannot tell” says no more than that it is not "
    "larger.",
    "Gain": "the same trained model evaluated with its neighbours minus without them. Without "
    "near-duplicates: on the documents of which less than a given share of 13-grams occurs in the training "
    "text. By the gain: the verdict on the difference of two models' gains. Two trainings differ by chance "
    "in their losses with and without neighbours alike, which the gain leaves out; it says what retrieval is "
    "worth, not which model predicts better.",
    "Null check": f"the published form under other seeds against itself, in {DRAWS} random divisions of "
    "its seeds. A 95 % interval is wrong in one of twenty; the "
    "divisions share the same models, so they tend to be right or wrong together.",
    "Many rows": "verdicts are not corrected for the number of rows: among forty that do not differ, one or "
    "two may be called different. q says at which false discovery rate of its table a difference counts "
    "(Benjamini–Hochberg; of each row the largest p of its intervals).",
    "Without near-duplicates, without one group": "the verdict on documents that hardly occur in training, "
    "and the groups without any one of which the verdict is another: such a verdict is of that group.",
    "Would decide": "how many seeds, groups or draws would decide what is undecided, were mean and spread as "
    "they are seen: where more than one is named, all of them. A plan for another run, not a promise.",
    "Training tokens": "of a table of rows, and on every curve, all that the batches hold: steps × sequences "
    "× length. Of the comparison, those that are predicted: its batches hold about 1 % more, padding after a "
    "document's end and documents' last tokens.",
    "FLOPs, MFU, memory": "FLOPs are those of the model (6N + 12LHKT, PaLM appendix B), retrieval included. "
    "Where a card does not say that the projection of relative distances counts once per batch, it counts "
    "for every token, as in the papers: a few percent more for Gopher and RETRO. MFU is against the "
    "machine's own measured rate of matrix products; MiB is the largest resident memory of a training run's "
    "process.",
}


def write(pages: Mapping[str, str], docs: Path) -> None:
    """Makes the files below `docs` those of `pages`; cards of runs that are no more are removed."""
    (docs / "cards").mkdir(parents=True, exist_ok=True)
    for path in differing(pages, docs):
        content = pages.get(path.relative_to(docs).as_posix())
        if content is None:
            path.unlink()
        else:
            write_atomic(path, content)


def differing(pages: Mapping[str, str], docs: Path) -> list[Path]:
    """The files below `docs` that are missing or differ from `pages`, and cards of runs that are no more."""
    there = lambda path: path.read_bytes() if path.exists() else None
    wrong = [docs / name for name, content in pages.items() if there(docs / name) != content.encode()]
    stale = [path for path in sorted((docs / "cards").glob("*.md")) if f"cards/{path.name}" not in pages]
    return wrong + stale


def pages(sections: Sequence[Section]) -> dict[str, str]:
    """Every page of these sections by its path below docs: the same give the same text, byte for byte."""
    carded = [section for section in sections if section.models]
    fields = {
        "sections": sections, "carded": carded, "counted": _counted(sections), "runs": _runs(sections),
        "terms": TERMS, "github": github, "plots": plots, "set_up": set_up, "from_docs": _from_docs,
    }  # fmt: skip
    cards = {f"cards/{section.name}.md": card(section) for section in carded}
    made = {
        "results.md": _tidy(template("results.md.j2", html=False).render(fields)),
        "report.html": template("results.html.j2", html=True).render(fields) + "\n",
        **{name: _tidy(text) for name, text in cards.items()},
    }
    return {name: encodable(text) for name, text in made.items()}  # a path of --corpus may be no UTF-8


def with_tables(text: str, sections: Sequence[Section]) -> str:
    """A page by hand (README.md, docs/findings.md) with the tables of `sections` between `<!-- NAME: … -->`
    and `<!-- end -->`: of the models compared, their differences, the leakage, the papers' directions.
    """
    compared = next((section.tables for section in sections if section.name == "compare"), ())
    tables = dict(zip(("compare", "differences", "leakage"), compared))
    if counted := _counted(sections):
        tables["directions"] = counted
    return filled(text, {name: str(github(table)) for name, table in tables.items()})


def _tidy(markdown: str) -> str:
    """No more than one empty line in a row, and none at the end."""
    return re.sub(r"\n{3,}", "\n\n", markdown).strip() + "\n"


def _counted(sections: Sequence[Section]) -> Table | None:
    """What became of the papers' directions, a row per file that has any."""
    counts = {section.title: section.sentences.counts for section in sections}
    records = [{"table": title, **words} for title, words in counts.items() if words]
    return table_of(records, "What became of the papers' directions") if records else None


def _runs(sections: Sequence[Section]) -> Table:
    """A row per file."""
    fields = ("commit", "date", "python", "jax", "device", "cores", "corpus_hash")
    records = [
        {
            "file": f"{section.name}/results.json",
            "command": section.command,
            **{name.replace("_", " "): section.results["environment"].get(name, "–") for name in fields},
        }
        for section in sections
    ]
    return table_of(records, "Every run")


def set_up(section: Section) -> dict[str, Mapping[str, Any]]:
    """What the page lists of a run, by heading."""
    results = section.results
    config = results["config"].get("options", results["config"])
    records = {"Options": config, "Machine and versions": results["environment"]}
    return records | {name.capitalize(): results[name] for name in ("corpus", "peak") if name in results}


def _from_docs(target: str) -> str:
    """A path of the repository as a link of a page in docs."""
    return target.removeprefix("docs/") if target.startswith("docs/") else f"../{target}"
