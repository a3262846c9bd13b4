"""The leakage part of the page, the terminal and the README says what results.json says, and no more."""

import json
import re

import pytest

from judging.comparisons import with_verdicts
from reports.comparison import findings, leakage_findings
from reports.comparison.page import markdown_table, save_plot, terminal_table, write_report
from reports.forms import form_name, forms
from reports.words import bits, bounds, signed
from tests.reports.test_comparison import BITS, COPYING_OFF, COPYING_ON, cells, make_results, page_of

ALPHAS = [eighths / 8 for eighths in range(1, 9)]
RUNS = [3, 10, 40, *([20] * 13), *([2] * 48), 30]


def with_leakage(results, alphas=ALPHAS):
    """`results` with a part in which a third of the copying gain is there at 12.5 % and all at 100 %."""
    means, comparisons = [], []
    for domain in findings.domains(results):
        for alpha in alphas:
            over = {
                "alpha": alpha,
                "chunks": round(400 * alpha),
                "bytes": round(50_000 * (0.6 + 0.4 * alpha)),
            }
            for form in forms(results):
                row = findings.mean_of(results, form, domain)
                value = row["bits_per_byte"] + 0.3 * (1 - alpha)
                means.append(
                    {**row, **over, "bits_per_byte": value, "interval": [value - 0.05, value + 0.05]}
                )
            for a, b in findings.pairs(results):
                if a[1] == "on":
                    row = findings.comparison(results, a, b, domain)
                    value = row["difference"] * (5 + 16 * alpha) / 21
                    around = [value - 0.004, value + 0.004]
                    intervals = {"over_groups": around, "over_seeds": row["over_seeds"] and around}
                    comparisons.append({**row, **over, "difference": value, **intervals})
    runs = [{"domain": domain, "chunks": RUNS} for domain in findings.domains(results)]
    part = {"neighbours": 10, "runs": runs, "means": means, "comparisons": comparisons}
    return results | {"leakage": json.loads(json.dumps(part))}


def test_the_page_shows_every_figure_and_stays_whole(tmp_path):
    results = with_leakage(make_results(domains=("all", "code")))
    page = page_of(results, tmp_path)
    texts = cells(page)
    for row in results["leakage"]["means"]:
        figures = f"{row['bits_per_byte']:.4f}{bounds(row['interval'])}"
        assert texts.count(figures) >= 1, figures
    for row in with_verdicts(results)["leakage"]["comparisons"]:
        difference = signed(row["difference"])
        intervals = [bounds(row[key], signed) for key in ("over_groups", "over_seeds")]
        assert "".join([difference, *intervals, row["verdict"]]) in texts
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids)) and "leakage-section" in ids
    assert "http" not in page and not re.findall(r"url\((?!#)", page)
    for sentence in leakage_findings.sentences(with_verdicts(results)):
        assert sentence in page


def test_the_short_table_in_terminal_and_readme():
    results = with_leakage(make_results())
    terminal, markdown = terminal_table(results), markdown_table(results)
    assert max(map(len, terminal.splitlines())) <= 110
    for form in BITS:
        entries = leakage_findings.means(results, form)
        figures = [bits(entries[alpha]["bits_per_byte"]) for alpha in (0.125, 0.5, 1.0)]
        lines = [line for line in terminal.splitlines() if line.startswith(f"{form_name(form)}  ")]
        assert any(line.split()[-3:] == figures for line in lines)
        assert f"| {' | '.join(figures)} " in re.sub(r" +", " ", markdown)
    share = leakage_findings.share_of_bytes(results, 0.125)
    assert f"{share:.0%}" == "65%" and "65%" in terminal


def test_what_survives_is_a_part_of_a_gain_and_is_said_only_of_one():
    results = with_leakage(make_results())
    assert leakage_findings.surviving(with_verdicts(results), COPYING_ON, COPYING_OFF) == pytest.approx(1 / 3)
    first, *others = leakage_findings.sentences(with_verdicts(results))
    assert first.startswith("65% of the held-out bytes") and "8 tokens (12.5 %" in first
    copying = next(sentence for sentence in others if sentence.startswith("RETRO on − off (copying, ours)"))
    assert "−0.0830 (better)" in copying and "−0.0277 (better)" in copying and "33% of the gain" in copying
    published = next(sentence for sentence in others if sentence.startswith("RETRO on − off:"))
    assert "cannot tell" in published and "of the gain" not in published
    few = with_leakage(make_results(seeds=2))
    assert not any(
        "of the gain" in sentence or "better" in sentence
        for sentence in leakage_findings.sentences(with_verdicts(few))
    )
    assert leakage_findings.short_table(with_verdicts(few)).groups[0][1][-1][-1] == ("–",)


def test_a_gain_that_turns_into_a_loss_is_not_hidden():
    results = with_leakage(make_results())
    row = leakage_findings.comparisons(results, COPYING_ON, COPYING_OFF)[0.125]
    row |= {"difference": 0.0083, "excludes_zero": True}
    assert (
        "+0.0083 (worse) over those: −10% of the gain"
        in leakage_findings.sentences(with_verdicts(results))[3]
    )


def test_where_every_chunk_was_seen_there_is_nothing_to_say_of_the_others(tmp_path):
    """No chunk up to 50 %, one document (no interval): columns are left out."""
    results = with_leakage(make_results(seeds=1, domains=("all",)), alphas=[0.75, 1.0])
    for row in results["leakage"]["means"]:
        row["interval"] = None
    for row in results["leakage"]["comparisons"]:
        row |= {"over_groups": None, "over_seeds": None, "excludes_zero": False}
    page_of(results, tmp_path)
    table = leakage_findings.short_table(with_verdicts(results))
    assert table.header[1].startswith("64 tokens") and len(table.header) == len(table.groups[0][1][0]) == 3
    assert (
        leakage_findings.sentences(with_verdicts(results))[0].startswith("0% of")
        and len(leakage_findings.sentences(with_verdicts(results))) == 1
    )


def test_older_results_still_give_a_report(tmp_path):
    results = make_results(domains=("all",))
    write_report(results, tmp_path / "report.html")
    save_plot(results, tmp_path / "plot.png")
    assert "Leakage" not in (tmp_path / "report.html").read_text() and "gain left" not in terminal_table(
        results
    )
