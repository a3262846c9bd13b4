"""The tables of a comparison: models, paired differences, every run, and leakage by domain."""

from collections.abc import Mapping, Sequence
from typing import Any

from judging.comparisons import drawn
from judging.verdicts import UNDECIDED
from reports.comparison import findings, leakage_findings
from reports.forms import (
    ALL,
    DOCUMENTS,
    NO_NEAR_DUPLICATES,
    domain_name,
    form_name,
    form_of,
    forms,
    pair_name,
)
from reports.tables import Cell, Table, plain_table
from reports.words import bits, bounds, count, figure, flops, signed


def tables(results: Mapping) -> list[Table]:
    """The models, the paired differences and, where it was measured, the leakage, as the README has them."""
    shown = [model_table(results, findings.domains(results)), difference_table(results)]
    return shown + ([leakage_findings.short_table(results)] if leakage_findings.has_leakage(results) else [])


def models(results: Mapping) -> list[dict[str, Any]]:
    """Every form with its name, its cost, and its means by domain."""
    return [
        {
            "name": form_name(form),
            "cost": findings.cost_of(results, form),
            "means": {d: findings.mean_of(results, form, d) for d in findings.domains(results)},
        }
        for form in forms(results)
    ]


def model_table(results: Mapping, domains: Sequence[str]) -> Table:
    """A row per form and one for the unigram reference."""
    parts = [domain for domain in domains if domain != ALL]
    header = ["model", "size", "train\ntokens", "train\nFLOPs", "bits per byte\n[95 %]"]
    header += [*map(_short, parts), "tokens\n/s", "MFU"]
    rows = []
    for model in models(results):
        cost, means = model["cost"], model["means"]
        rows.append(
            [
                model["name"],
                count(cost["parameters"]),
                count(cost["train_tokens"]),
                flops(cost["train_flops"]),
            ]
            + [f"{bits(means[ALL]['bits_per_byte'])} {bounds(means[ALL]['interval'])}"]
            + [bits(means[domain] and means[domain]["bits_per_byte"]) for domain in parts]
            + [figure(cost["tokens_per_second"], ",.0f"), figure(cost["mfu"], ".0%")]
        )
    unigram = {row["domain"]: row["bits_per_byte"] for row in results["unigram"]}
    references = [bits(unigram.get(domain)) for domain in (ALL, *parts)]
    return plain_table("Models", header, [*rows, ["unigram reference", "", "", "", *references, "", ""]])


def _short(domain: str) -> str:
    return "no near\ndupl." if domain == NO_NEAR_DUPLICATES else domain[:12]


def difference_table(results: Mapping) -> Table:
    """A row per pair, on all documents and on those without near-duplicates."""
    over = ["over seeds", f"over {drawn(results)}"]
    header = ["difference (a − b)", "documents", "bits per byte", *over, "a is"]
    rows = [
        [pair_name(a, b), DOCUMENTS[domain], *_difference(row)]
        for a, b, entries in findings.comparisons(results, list(DOCUMENTS))
        for domain, row in entries.items()
    ]
    return plain_table("Paired differences", header, rows)


def grouped_difference_table(results: Mapping, domains: Sequence[str]) -> Table:
    """Below every pair's name, its entry on each domain."""
    header = ("a − b", "bits per byte", "95 % over seeds", f"95 % over {drawn(results)}", "a is")
    groups = []
    for a, b, entries in findings.comparisons(results, domains):
        rows = (_cells(domain_name(domain), *_difference(row)) for domain, row in entries.items())
        groups.append((pair_name(a, b), tuple(rows)))
    return Table("Paired differences", header, tuple(groups))


def _difference(row: Mapping) -> list[str]:
    intervals = [bounds(row[key], signed) for key in ("over_seeds", "over_groups")]
    verdict = row["verdict"]
    if verdict == UNDECIDED and row.get("over_all"):  # which may hold zero where neither of the others does
        verdict += f", over all {bounds(row['over_all'], signed)}"
    return [signed(row["difference"]), *intervals, verdict]


def _cells(*texts: str) -> tuple[Cell, ...]:
    return tuple((text,) for text in texts)


def every_run(results: Mapping) -> Table:
    """Every seed of every form on every domain."""
    header = [
        "model", "seed", "domain", "bits per byte", "95 % interval", "parameters", "training tokens",
        "training FLOPs", "tokens/s", "MFU",
    ]  # fmt: skip
    rows = [
        [
            form_name(form_of(row)), row["seed"], domain_name(row["domain"]), f"{row['bits_per_byte']:.4f}",
            bounds(row["interval"]), f"{row['parameters']:,}", f"{row['train_tokens']:,}",
            flops(row["train_flops"], 3), figure(row["tokens_per_second"], ",.0f"), figure(row["mfu"], ".1%"),
        ]
        for row in results["rows"]
    ]  # fmt: skip
    return plain_table("Every run", header, rows)


def leakage_table(results: Mapping, domain: str) -> Table:
    """On one domain, by α: how much text there is, every form, and every pair with its intervals over
    groups of documents and over seeds.
    """
    amounts = leakage_findings.amounts(results, domain)
    rows: list[tuple[Cell, ...]]
    rows = [_cells(name, *(f"{row[name]:,}" for row in amounts.values())) for name in ("chunks", "bytes")]
    for form in forms(results):
        means = leakage_findings.means(results, form, domain).values()
        figures = ((f"{row['bits_per_byte']:.4f}", bounds(row["interval"])) for row in means)
        rows.append(((form_name(form),), *figures))
    for a, b in findings.pairs(results["leakage"]):
        entries = map(_difference, leakage_findings.comparisons(results, a, b, domain).values())
        # Over groups first, as below the forms.
        differences = ((mean, groups, seeds, verdict) for mean, seeds, groups, verdict in entries)
        rows.append(((pair_name(a, b),), *differences))
    header = ("r(C) at most", *map(leakage_findings.percent, amounts))
    return Table(f"Leakage: {domain_name(domain)}", header, (("", tuple(rows)),))
