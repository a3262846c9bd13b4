"""A results file as a section of the pages: what was asked, what came out, tables and plots.

Every kind of results file that is committed has a builder here; what they say comes from the modules that the
experiments themselves print from.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from markupsafe import Markup

from errors import InputError
from judging.verdicts import CANNOT_TELL, OPPOSITE, SAME, JudgedRow, NullCheck, judge, null_check
from reports.comparison import findings
from reports.comparison import page as report
from reports.comparison.plots import bits_per_byte_svg, differences_svg
from reports.study import curve_findings
from reports.study import findings as judged_findings
from reports.study import plots as judged_plots
from reports.study.curves import AXES, curves, scaled
from reports.study.table import full_table, notes, null_sentence, reading
from reports.systems.parallelism import measured
from reports.systems.parallelism import reading as parallelism_reading
from reports.systems.plan import plans
from reports.tables import Table, plain_table, table_of
from studies.results_file import is_study, read_results

ORDER = (
    "compare", "ablate palm", "ablate gopher", "ablate retro", "scaling", "payoff", "square", "parallelism",
    "plan",
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    """Attributes:
    name: of the folder that the file lies in, and of the section's anchor.
    brief: the sentences that the page opens with; `told`: those of the section.
    plots: by what they show.
    directions: the papers', by what came of them.
    judged: the rows of a file that has some.
    counts: their number by the same words, with the null check and the median detectable difference; empty
        where there are none.
    links: further pages of this file, by name, relative to the repository.
    """

    name: str
    title: str
    subject: str
    question: str
    brief: tuple[str, ...]
    told: tuple[str, ...]
    results: Mapping[str, Any]
    judged: tuple[JudgedRow, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: Mapping[str, Markup] = field(default_factory=dict)
    directions: Mapping[str, list[str]] = field(default_factory=dict)
    counts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reading: str = ""
    links: Mapping[str, str] = field(default_factory=dict)


def sections(folder: Path) -> list[Section]:
    """One per results.json in a folder below `folder`, in the order of ORDER, then by folder. Where several
    are of one experiment, their titles name the folders.

    Raises:
        InputError: there is no file, or one is damaged or of no known layout.
    """
    found = [section(path) for path in sorted(folder.glob("*/results.json"))]
    if not found:
        raise InputError(f"There is no results.json in a folder below {folder}: run an experiment first.")
    titles = [section.title for section in found]
    found = [
        replace(section, title=f"{section.title} ({section.name})")
        if titles.count(section.title) > 1
        else section
        for section in found
    ]
    place = lambda found: ORDER.index(found) if found in ORDER else len(ORDER)
    return sorted(found, key=lambda section: (place(section.results["experiment"]), section.name))


def section(path: Path) -> Section:
    """The section of one results file.

    Raises:
        InputError: it is damaged or of no known layout.
    """
    name = re.sub(r"[^a-z0-9]+", "-", path.parent.name.lower())
    others = {"compare": _compare, "parallelism": _parallelism, "plan": _plan}
    results = read_results(path)
    build = _study if is_study(results) else others.get(results["experiment"])
    if build is None:
        raise InputError(f"{path} is of {results['experiment']}, of which there is no section: remove it.")
    return build(name, results)


def _study(name: str, results: Mapping) -> Section:
    """A file of studies.study: rows that are judged."""
    judged, check = judge(results), null_check(results)
    found, laws, experiment = curves(judged), scaled(results, judged), results["experiment"]
    over_time = any(one.axis == "tokens" for one in found)
    squared = curve_findings.square_sentences(results, judged)
    first = [
        judged_findings.counted(judged),
        judged_findings.counted_by_gain(judged),
        *curve_findings.curve_sentences(found),
        *curve_findings.law_sentences(laws),
        *squared,
        *([] if over_time or laws or squared else judged_findings.gain_sentences(judged)),
    ]
    rest = [
        "" if laws or squared else judged_findings.without_claims(judged),
        judged_findings.unfinished(judged),
        judged_findings.sensitivity(judged),
        null_sentence(check),
    ]
    brief = tuple(filter(None, first))
    drawn = {"Paired differences": judged_plots.forest_svg(f"{name}-forest", judged)}
    if laws:
        drawn["Bits per byte over training FLOPs"] = judged_plots.scaling_svg(f"{name}-scaling", laws)
    for number, one in enumerate(found):
        drawn[f"By {AXES[one.axis]}: {one.measured}"] = judged_plots.curves_svg(f"{name}-{number}", one)
    return Section(
        name=name,
        title=judged_findings.title(experiment),
        subject=judged_findings.scale(results),
        question=judged_findings.question(experiment),
        brief=brief,
        told=(*brief, *filter(None, rest)),
        results=results,
        judged=tuple(judged),
        tables=(full_table(judged),),
        plots={title: svg for title, svg in drawn.items() if svg is not None},
        directions=judged_findings.directions(judged),
        counts=_counts(judged, check),
        notes=tuple(notes(judged)),
        reading=reading(judged),
    )


def _counts(judged: Sequence[JudgedRow], check: NullCheck | None) -> dict[str, str]:
    claims = judged_findings.claims(judged)
    if not claims and check is None:
        return {}
    number = {
        verdict: sum(row.verdict == verdict for row in claims) for verdict in (SAME, OPPOSITE, CANNOT_TELL)
    }
    seen = [row.detectable for row in judged if row.detectable is not None]
    return {
        "directions": str(len(claims)),
        "reproduced": str(number[SAME]),
        "opposite": str(number[OPPOSITE]),
        "cannot tell": str(number[CANNOT_TELL]),
        "not judged": str(len(claims) - sum(number.values())),
        "null check: cannot tell": f"{check.cannot_tell} of {check.draws}" if check else "–",
        "half of the rows could see": f"±{median(seen):.4f}" if seen else "–",
    }


def _compare(name: str, results: Mapping) -> Section:
    told = (findings.headline(results), findings.seeds_sentence(results), findings.unigram_sentence(results))
    titles = ("Models", "Paired differences", "By how much of a chunk was seen in training")
    tables = [plain_table(title, *table) for title, table in zip(titles, report.tables(results))]
    drawn = {"Bits per byte": bits_per_byte_svg(results, f"{name}-bits")}
    if results["comparisons"]:
        drawn["Paired differences"] = differences_svg(results, f"{name}-differences")
    claims = [f"{claim} {finding}" for claim, finding in findings.against_the_papers(results)]
    return Section(
        name=name,
        title="PaLM, Gopher and RETRO on the same text",
        subject=f"corpus {results['config']['options']['corpus']}, on {results['environment']['device']}",
        question="Which of the three predicts held-out text best, and what does retrieval add?",
        brief=told[:1],
        told=tuple(filter(None, told)),
        results=results,
        tables=tuple(tables),
        plots=drawn,
        directions={"RETRO's claims": claims} if claims else {},
        links={"the page of this run": f"experiments/results/{name}/report.html"},
    )


def _parallelism(name: str, results: Mapping) -> Section:
    rows = results["rows"]
    idle = ", ".join(f"{row['strategy']} {row['idle_share']:.0%}" for row in rows)
    apart = max(
        abs(loss / first - 1) for row in rows for loss, first in zip(row["losses"], rows[0]["losses"])
    )
    said = f"Share of a step in which devices idle: {idle}; the losses of all agree to {apart:.0e}."
    return Section(
        name=name,
        title="With a pipeline and without",
        subject=f"{results['config']['model']} of {results['config']['layers']} layers",
        question="Who waits, who holds what, and what is sent, when one model is cut into stages?",
        brief=(said,),
        told=(said,),
        results=results,
        tables=(table_of("Strategies", measured(results)),),
        reading=parallelism_reading(results),
        links={"what to read in it": "docs/parallelism.md"},
    )


def _plan(name: str, results: Mapping) -> Section:
    rows = [row for row in results["rows"] if row["published_mfu"]]
    said = "; ".join(
        f"{row['model']} {row['predicted_mfu']:.1f} %, published {row['published_mfu']} %" for row in rows
    )
    fit = sum(row["fits"] for row in results["rows"])
    told = (
        f"{fit} of {len(results['rows'])} train steps fit their chips. MFU predicted: {said}.",
    )  # fmt: skip
    return Section(
        name=name,
        title="The published runs, planned",
        subject="compiled for TPUs that are not there",
        question="Do the papers' train steps fit their pods, and how fast would they be?",
        brief=told,
        told=told,
        results=results,
        tables=(table_of("Runs", plans(results)),),
        notes=tuple(results["assumptions"]),
        links={"where a step goes": "docs/plan.md"},
    )


def command_of(section: Section) -> str:
    """The command that wrote the file, as far as it says."""
    return section.results.get("command") or f"python -m experiments.{section.results['experiment']}"


def run_of(section: Section) -> str:
    """`python -m ... (commit ab12, 2026-11-22, Python 3.11.7, jax 0.10.2, cpu, 2 cores)`."""
    where = section.results["environment"]
    versions = f"Python {where['python']}, jax {where['jax']}"
    made = f"commit {where['commit']}, {where['date']}"
    return f"{command_of(section)} ({made}, {versions}, {where['device']}, {where['cores']} cores)"
