"""What a person sees of one run of a comparison: a table in the terminal, and report.html and plot.png in the
run's folder. (docs/report.html, of all runs, is made by reports/pages.py.)

Everything is computed from the dictionary of results.json, so that committed results give the same report
again, byte for byte.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill

from judging.comparisons import drawn, with_verdicts
from reports import forms, plots, words
from reports.comparison import findings, leakage_findings, leakage_plots, tables
from reports.comparison import plots as drawings
from reports.comparison.plots import summary_png
from reports.forms import DOCUMENTS
from reports.sources import PAGE_NAME
from reports.tables import WIDTH, Table, github, terminal
from reports.templates.fill import template
from storage.files import write_atomic

TEMPLATE = "report.html.j2"
# Control characters have no place in a page; their pictures do.
PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {0x7F: 0x2421}


def terminal_table(results: Mapping) -> str:
    """Plain text of at most WIDTH columns: models, paired differences, leakage, stages, how to read."""
    results = with_verdicts(results)
    leakage = leakage_findings.has_leakage(results)
    parts = [
        _model_table_that_fits(results),
        _plain(tables.grouped_difference_table(results, list(DOCUMENTS))),
        *([_plain(leakage_findings.short_table(results))] if leakage else []),
        fill("Seconds per stage: " + ", ".join(map(_stage, results["stages"])), WIDTH),
        fill(results["peak"]["convention"], WIDTH) + "\n" + fill(_reservations(results), WIDTH),
    ]
    return "\n\n".join(parts)


def markdown_table(results: Mapping) -> str:
    """The models, the paired differences and, where it was measured, the leakage as GitHub tables."""
    return "\n\n".join(map(github, tables.tables(with_verdicts(results)))) + "\n"


def write_report(results: Mapping, path: Path) -> None:
    """One HTML file that needs nothing beside itself: no script, no font, no link to load."""
    results = with_verdicts(results)
    numbers = {
        name: getattr(words, name) for name in ("bits", "bounds", "count", "figure", "flops", "signed")
    }
    page = template(TEMPLATE, html=True, **numbers).render(
        results=results,
        drawn=drawn(results),
        findings=findings,
        forms=forms,
        plots=plots,
        drawings=drawings,
        tables=tables,
        leakage=leakage_findings,
        leakage_plots=leakage_plots,
        models=tables.models(results),
        reservations=_reservations(results),
        example=results["example"] and _example(results["example"]),
        longest_stage=max((stage["seconds"] for stage in results["stages"]), default=0) or 1,
        strong_nats=f"{plots.STRONG_NATS:g}",
        sources_page=PAGE_NAME,  # a link leads nowhere else, whatever the results say
        configurations=json.dumps(results["config"]["models"], indent=1),
    )
    # Text of a corpus may hold control characters, and half a surrogate pair, which UTF-8 has no bytes for.
    write_atomic(Path(path), page.translate(PICTURES).encode("utf-8", "replace"))


def save_plot(results: Mapping, path: Path) -> None:
    """PNG: bits per byte of every model form, and the paired differences."""
    write_atomic(Path(path), summary_png(with_verdicts(results)))


def _reservations(results: Mapping) -> str:
    sentences = (findings.seeds_sentence, findings.unigram_sentence, findings.neighbours_sentences)
    return " ".join(filter(None, (sentence(results) for sentence in sentences)))


def _model_table_that_fits(results: Mapping) -> str:
    """Domains that would make the lines too long are named below instead of shown."""
    shown = findings.domains(results)
    left_out = []
    while (table := _plain(tables.model_table(results, shown))) and len(shown) > 1:
        if max(map(len, table.splitlines())) <= WIDTH:
            break
        left_out.insert(0, shown.pop())
    if left_out:
        table += "\n" + fill("Further domains, in report.html: " + ", ".join(left_out), WIDTH)
    return table


def _plain(table: Table) -> str:
    return terminal(table, right=table.header[1:])


def _stage(stage: Mapping) -> str:
    return f"{stage['stage']} {stage['seconds']:.1f}" + (" (reused)" if stage["reused"] else "")


def _example(example: Mapping) -> dict:
    """The worked example with what its neighbours saved: nats per token, and as a share of full colour."""
    tokens = []
    for token in example["tokens"]:
        saved = token["nats_off"] - token["nats_on"]
        sense = "saved" if saved > 0 else "lost"
        tokens.append({**token, "saved": saved, "share": plots.strength(saved), "sense": sense})
    return {**example, "tokens": tokens, "saved": sum(token["saved"] for token in tokens)}
