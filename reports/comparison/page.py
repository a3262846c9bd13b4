"""What a person sees of a comparison: a table in the terminal, a page, a table and a picture for the README.

Everything is computed from the dictionary of results.json, so that committed results give the same report
again, byte for byte.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill

from tabulate import tabulate

from reports import plots, words
from reports.comparison import findings, leakage_findings, leakage_plots
from reports.comparison import plots as drawings
from reports.comparison.plots import summary_png
from reports.templates.fill import template
from reports.words import (
    ALL,
    DOCUMENTS,
    NO_NEAR_DUPLICATES,
    bits,
    bounds,
    count,
    form_name,
    forms,
    pair_name,
    signed,
)
from storage.files import write_atomic

WIDTH = 110
TEMPLATE = "report.html.j2"
# Control characters have no place in a page; their pictures do.
PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
SHORT = {ALL: "all", NO_NEAR_DUPLICATES: "no near-dupl."}
STRONG_NATS = 3.0  # per token: full colour in the worked example


def terminal_table(results: Mapping) -> str:
    """Plain text, at most 110 columns: models, unigram reference, paired differences, leakage, stages, how to
    read.
    """
    return "\n\n".join(
        [
            _model_table_that_fits(results),
            _difference_table(results),
            *(
                [_plain(*leakage_findings.short_table(results))]
                if leakage_findings.has_leakage(results)
                else []
            ),
            fill("Seconds per stage: " + ", ".join(_stage(stage) for stage in results["stages"]), WIDTH),
            fill(results["peak"]["convention"], WIDTH) + "\n" + fill(_reservations(results), WIDTH),
        ]
    )


def markdown_table(results: Mapping) -> str:
    """The models, the paired differences and, where it was measured, the leakage as GitHub tables."""
    return "\n\n".join(_github(header, rows) for header, rows in tables(results)) + "\n"


def tables(results: Mapping) -> list[tuple[list[str], list[list[str]]]]:
    """Header and rows of each of these tables."""
    header = ["difference (a − b)", "documents", "bits per byte", "over seeds", "over documents", "a is"]
    rows = [
        [pair_name(a, b), DOCUMENTS[domain], *_difference_cells(row)]
        for a, b, entries in findings.comparisons(results, list(DOCUMENTS))
        for domain, row in entries.items()
    ]
    found = [_model_table(results, findings.domains(results)), (header, rows)]
    if leakage_findings.has_leakage(results):
        found.append(leakage_findings.short_table(results))
    return found


def write_report(results: Mapping, path: Path) -> None:
    """One HTML file that needs nothing beside itself: no script, no font, no link to load."""
    filled = template(TEMPLATE, html=True, bits=bits, bounds=bounds, count=count, signed=signed)
    page = filled.render(
        results=results,
        findings=findings,
        plots=plots,
        drawings=drawings,
        words=words,
        leakage=leakage_findings,
        leakage_plots=leakage_plots,
        models=_models(results),
        reservations=_reservations(results),
        example=results["example"] and _example(results["example"]),
        longest_stage=max((stage["seconds"] for stage in results["stages"]), default=0) or 1,
        strong_nats=f"{STRONG_NATS:g}",
        configurations=json.dumps(results["config"]["models"], indent=1),
    )
    # Text of a corpus may hold control characters, and half a surrogate pair, which UTF-8 has no bytes for.
    write_atomic(Path(path), page.translate(PICTURES).encode("utf-8", "replace"))


def save_plot(results: Mapping, path: Path) -> None:
    """PNG: bits per byte of every model form, and the paired differences."""
    write_atomic(Path(path), summary_png(results))


def _reservations(results: Mapping) -> str:
    return f"{findings.seeds_sentence(results)} {findings.unigram_sentence(results)}".strip()


def _models(results: Mapping) -> list[dict]:
    return [
        {
            "name": form_name(form),
            "cost": findings.cost_of(results, form),
            "means": {d: findings.mean_of(results, form, d) for d in findings.domains(results)},
        }
        for form in forms(results)
    ]


def _model_table_that_fits(results: Mapping) -> str:
    """Domains that would make the lines too long are named below instead of shown."""
    shown = findings.domains(results)
    left_out = []
    while (table := _plain(*_model_table(results, shown))) and len(shown) > 1:
        if max(map(len, table.splitlines())) <= WIDTH:
            break
        left_out.insert(0, shown.pop())
    if left_out:
        table += "\n" + fill("Further domains, in report.html: " + ", ".join(left_out), WIDTH)
    return table


def _model_table(results: Mapping, domains: list[str]) -> tuple[list[str], list[list[str]]]:
    header = ["model", "size", "train\ntokens", "train\nFLOPs", "bits per byte\n[95 %]"]
    header += [_short(domain) for domain in domains if domain != ALL] + ["tokens\n/s", "MFU"]
    rows = []
    for model in _models(results):
        cost, whole = model["cost"], model["means"][ALL]
        flops = f"{cost['train_flops']:.1e}".replace("+", "")
        rows.append(
            [model["name"], count(cost["parameters"]), count(cost["train_tokens"]), flops]
            + [f"{bits(whole['bits_per_byte'])} {bounds(whole['interval'])}"]
            + [bits(model["means"][d] and model["means"][d]["bits_per_byte"]) for d in domains if d != ALL]
            + [_number(cost["tokens_per_second"], ",.0f"), _number(cost["mfu"], ".0%")]
        )
    unigram = {row["domain"]: row["bits_per_byte"] for row in results["unigram"]}
    references = [bits(unigram.get(domain)) for domain in domains if domain != ALL]
    rows.append(["unigram reference", "", "", "", bits(unigram.get(ALL)), *references, "", ""])
    return header, rows


def _difference_table(results: Mapping) -> str:
    """A pair takes one row of two lines: all documents, and those without near-duplicates."""
    header = ["paired difference a − b", "documents", "bits/byte"]
    header += ["95 % over\nseeds", "95 % over\ndocuments", "a is"]
    rows = []
    for a, b, entries in findings.comparisons(results, list(DOCUMENTS)):
        lines = [[SHORT[domain], *_difference_cells(row)] for domain, row in entries.items()]
        names = f"{form_name(a)}\n− {form_name(b)}"
        rows.append([names, *map("\n".join, zip(*lines, strict=True))])
    return _plain(header, rows)


def _difference_cells(row: Mapping) -> list[str]:
    intervals = [bounds(row[key], signed) for key in ("over_seeds", "over_documents")]
    return [signed(row["difference"]), *intervals, findings.verdict(row)]


def _github(header: list[str], rows: list[list[str]]) -> str:
    header, *rows = ([cell.replace("\n", " ") for cell in row] for row in (header, *rows))
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def _plain(header: list[str], rows: list[list[str]]) -> str:
    # As a row of its own the header escapes tabulate's padding, which would cost two columns for every cell.
    alignment = ["left"] + ["right"] * (len(header) - 1)
    table = tabulate([header, *rows], tablefmt="plain", disable_numparse=True, colalign=alignment)
    lines = table.splitlines()
    height = 1 + max(title.count("\n") for title in header)
    return "\n".join([*lines[:height], "-" * max(map(len, lines)), *lines[height:]])


def _short(domain: str) -> str:
    return SHORT.get(domain, domain[:12]).replace("no near-", "no near\n")


def _stage(stage: Mapping) -> str:
    return f"{stage['stage']} {stage['seconds']:.1f}" + (" (reused)" if stage["reused"] else "")


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _example(example: Mapping) -> dict:
    """The worked example with what its neighbours saved: nats per token, and as a share of full colour."""
    tokens = []
    for token in example["tokens"]:
        saved = token["nats_off"] - token["nats_on"]
        share = round(100 * min(1.0, abs(saved) / STRONG_NATS))
        tokens.append(token | {"saved": saved, "share": share, "sense": "saved" if saved > 0 else "lost"})
    return dict(example) | {"tokens": tokens, "saved": sum(token["saved"] for token in tokens)}
