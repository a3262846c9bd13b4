"""A table of rows as a section of the pages: judged, worded, laid out."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from judging.null_check import NullCheck, null_check
from judging.rows import JudgedRow, judge
from judging.verdicts import CANNOT_TELL, OPPOSITE, SAME
from reports.section import Judged, Section, Sentences, models_table
from reports.study import findings, plots
from reports.study.columns import legend, notes, null_sentence
from reports.study.curve_findings import block_sentences, curve_sentences, law_sentences
from reports.study.curves import AXES, Curves, OnBlocks, Scaled, curves, on_blocks, scaled, trained
from reports.study.table import full_table
from reports.words import bits, bounds, count, flops


@dataclass(frozen=True, kw_only=True)
class JudgedStudy(Judged):
    """What the losses of the file amount to."""

    rows: tuple[JudgedRow, ...]
    null: NullCheck | None
    curves: tuple[Curves, ...]
    laws: tuple[Scaled, ...]
    blocks: tuple[OnBlocks, ...]


def judged(results: Mapping[str, Any]) -> JudgedStudy:
    """Every verdict, curve and law of a file of studies.study."""
    rows = judge(results)
    return JudgedStudy(
        results=results,
        rows=tuple(rows),
        null=null_check(results),
        curves=tuple(curves(rows)),
        laws=tuple(scaled(results, rows)),
        blocks=tuple(on_blocks(results, rows)),
    )


def sentences(study: JudgedStudy) -> Sentences:
    """What they allow one to say."""
    rows, experiment = study.rows, study.results["experiment"]
    title, question = findings.QUESTIONS.get(experiment, (experiment, ""))
    over_time = any(one.axis == "tokens" for one in study.curves)
    brief = [
        findings.counted(rows),
        findings.counted_by_gain(rows),
        findings.fragile(rows),
        *curve_sentences(study.curves),
        *law_sentences(study.laws),
        *block_sentences(study.blocks),
        *([] if over_time or study.laws or study.blocks else findings.gain_sentences(rows)),
    ]
    further = [
        "" if study.laws or study.blocks else findings.without_claims(rows),
        findings.unfinished(rows),
        findings.false_discoveries(rows),
        findings.deciding_groups(rows),
        findings.would_decide(rows),
        findings.sensitivity(rows),
        null_sentence(study.null),
    ]
    return Sentences(
        judged=study,
        title=title,
        subject=findings.scale(study.results),
        question=question,
        brief=tuple(filter(None, brief)),
        further=tuple(filter(None, further)),
        directions=findings.directions(rows),
        counts=_counts(study),
        notes=tuple(notes(rows)),
        legend=legend(rows),
    )


def _counts(study: JudgedStudy) -> dict[str, str]:
    by_verdict, check = findings.by_verdict(study.rows), study.null
    claims, detectable = findings.claims(study.rows), findings.detectable(study.rows)
    if not claims and check is None:
        return {}
    return {
        "directions": str(len(claims)),
        "reproduced": str(len(by_verdict[SAME])),
        "opposite": str(len(by_verdict[OPPOSITE])),
        "cannot tell": str(len(by_verdict[CANNOT_TELL])),
        "not judged": str(len(by_verdict[None])),
        "null check: cannot tell": f"{check.cannot_tell} of {check.draws}" if check else "–",
        "median detectable": f"±{median(detectable):.4f}" if detectable else "–",
    }


def laid_out(name: str, sentences: Sentences) -> Section:
    """The sentences with the table, the plots, and what the card lists."""
    study = sentences.judged
    drawn = {"Paired differences": plots.forest_svg(f"{name}-forest", study.rows)}
    if study.laws:
        drawn["Bits per byte over training FLOPs"] = plots.scaling_svg(f"{name}-scaling", study.laws)
    for number, one in enumerate(study.curves):
        drawn[f"By {AXES[one.axis]}: {one.measured}"] = plots.curves_svg(f"{name}-{number}", one)
    return Section(
        name=name,
        sentences=sentences,
        tables=(full_table(study.rows),),
        plots={title: svg for title, svg in drawn.items() if svg is not None},
        models=models_table(map(_trained, trained(study.rows))),
        families=tuple(dict.fromkeys(row.row["facts"]["family"] for row in study.rows)),
    )


def _trained(judged: JudgedRow) -> list[str]:
    row = judged.row
    change = ", ".join(f"{name} {value}" for name, value in row["change"].items())
    cost = [count(row["parameters"]), count(row["train_tokens"]), flops(row["train_flops"])]
    seeds = f"{judged.seeds} of {len(row['cells'])}"
    return [row["name"], change, *cost, seeds, f"{bits(judged.bits_per_byte)} {bounds(judged.interval)}"]
