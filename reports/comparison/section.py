"""A comparison as a section of the pages: judged, worded, laid out."""

from collections.abc import Mapping
from typing import Any

from judging.comparisons import with_verdicts
from reports.comparison import findings
from reports.comparison.plots import bits_per_byte_svg, differences_svg
from reports.comparison.tables import tables
from reports.forms import Form, form_name, forms
from reports.section import Judged, Section, Sentences, models_table
from reports.words import bits, bounds, count, flops


def judged(results: Mapping[str, Any]) -> Judged:
    """The comparisons with their verdicts."""
    return Judged(results=with_verdicts(results))


def sentences(judged: Judged) -> Sentences:
    """What they allow one to say."""
    results = judged.results
    further = (findings.seeds_sentence(results), findings.unigram_sentence(results))
    claims = [f"{claim} {finding}" for claim, finding in findings.against_the_papers(results)]
    return Sentences(
        judged=judged,
        title="PaLM, Gopher and RETRO on the same text",
        subject=f"corpus {results['config']['options']['corpus']}, on {results['environment']['device']}",
        question="Which of the three predicts held-out text best, and what does retrieval add?",
        brief=(findings.headline(results),),
        further=tuple(filter(None, further)),
        directions={"RETRO's claims": claims} if claims else {},
    )


def laid_out(name: str, sentences: Sentences) -> Section:
    """The sentences with the tables, the plots, and what the card lists."""
    results = sentences.judged.results
    drawn = {"Bits per byte": bits_per_byte_svg(results, f"{name}-bits")}
    if results["comparisons"]:
        drawn["Paired differences"] = differences_svg(results, f"{name}-differences")
    return Section(
        name=name,
        sentences=sentences,
        tables=tuple(tables(results)),
        plots=drawn,
        links={"the page of this run": f"experiments/results/{name}/report.html"},
        models=models_table(_trained(results, form) for form in forms(results)),
        families=tuple(dict.fromkeys(form[0] for form in forms(results))),
    )


def _trained(results: Mapping[str, Any], form: Form) -> list[str]:
    cost, mean = findings.cost_of(results, form), findings.mean_of(results, form)
    budget = [count(cost["parameters"]), count(cost["train_tokens"]), flops(cost["train_flops"])]
    figures = f"{bits(mean['bits_per_byte'])} {bounds(mean['interval'])}"
    return [form_name(form), "", *budget, str(mean["seeds"]), figures]
