"""The rows of a study, judged: every number and verdict that is shown is computed here from the losses in
the file.

A row is one beside the row that it is compared `against`. They are paired: the same seeds, the same batches,
the same documents.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from judging.documents import Documents, apart, documents_of, groups_of
from judging.intervals import Comparison, Interval, ratio
from judging.margin import Margin, margin_of
from judging.table import BySeed, Table, by_seed, losses, minus
from judging.verdicts import (
    CANNOT_TELL,
    CHOSEN,
    DIVERGED,
    LEAST,
    UNDECIDED,
    claim_of,
    outcome,
    too_few,
    verdict_of_row,
    verdict_on_gain,
)


@dataclass(frozen=True)
class JudgedRow:
    """A row of the file with what its losses allow one to say.

    Attributes:
        row: as it stands in the file.
        seeds: how many finished; `paired`: how many of them the row that it is against has too.
        bits_per_byte: mean over the finished seeds, None without any; `interval`: over groups.
        difference: this row − against; None for a reference, and where no seed is paired.
        interaction: `difference` − that of the row which it names, and what the verdict is on; None where it
            names none.
        gain: with neighbours − without, the same model; None for rows that were not evaluated without.
        gain_apart: the gain on documents without near-duplicates in training.
        gain_difference: this row's gain − that of the row it is against.
        verdict: a word of judging.verdicts, or of what there are too few.
        verdict_apart: the same on documents without near-duplicates; None where all have some.
        decided_by: the groups without any one of which the verdict is another.
        gain_verdict: the verdict on `gain_difference`, where the paper expects a row to be better or worse
            and another model was trained for it: what two trainings differ in by chance is in their losses
            with and without neighbours alike, and leaves the gain. None elsewhere.
        margin: within which two models are called equal, of rows of which a paper says that; None elsewhere.
        q_value: the false discovery rate of the table at which the difference counts (Benjamini & Hochberg,
            1995); None for what has no verdict.
        unfinished: the trials that diverged or failed, by seed.
    """

    row: Mapping[str, Any]
    seeds: int
    paired: int
    bits_per_byte: float | None
    interval: Interval | None
    difference: Comparison | None
    interaction: Comparison | None
    gain: Comparison | None
    gain_apart: Comparison | None
    gain_difference: Comparison | None
    verdict: str
    verdict_apart: str | None
    decided_by: tuple[str, ...]
    gain_verdict: str | None
    margin: Margin | None
    q_value: float | None
    unfinished: tuple[Mapping[str, Any], ...]

    @property
    def name(self) -> str:
        return self.row["name"]

    @property
    def decisive(self) -> Comparison | None:
        """What the verdict is on."""
        return self.difference if self.interaction is None else self.interaction

    @property
    def hangs(self) -> bool:
        """Whether its verdict is another without near-duplicates or without some group. Of what there are too
        few of without near-duplicates, a number that is no verdict, that is not known.
        """
        apart = self.verdict_apart or self.verdict
        return bool(self.decided_by) or (apart != self.verdict and not apart[0].isdigit())

    @property
    def detectable(self) -> float | None:
        """Bits per byte: the smallest difference that would have been; None on fewer than two seeds."""
        return None if self.decisive is None else self.decisive.detectable

    @property
    def needed(self) -> dict[str, int | None]:
        """Of a verdict that could not be told, by seed, group and draw: how many would tell, were mean and
        spread as they are seen; None where MOST_NEEDED would not do. Empty where there is nothing to tell.
        """
        undecided = self.verdict.endswith((CANNOT_TELL, UNDECIDED)) and not self.verdict.startswith(CHOSEN)
        if self.decisive is None or not undecided:
            return {}
        if self.margin is not None and self.margin.value is None:
            return {}
        distance = abs(self.decisive.mean)
        if self.margin is not None:  # to the margin, from within or from outside
            distance = abs(distance - self.margin.value)
        return self.decisive.needed(distance)

    def outcome(self, difference: Comparison) -> str:
        """better, worse or cannot tell of this row's difference or gain; or why that is not to be said."""
        return DIVERGED if self.verdict == DIVERGED else outcome(difference)


def judge(results: Mapping) -> list[JudgedRow]:
    """Every row of `results`, in its order. No row is left out, whatever became of its seeds."""
    table, documents = Table(results), documents_of(results)
    inside_d = apart(results)
    kept = documents_of(results, inside_d) if inside_d.any() else None
    margins = [margin_of(table, text) if text else None for text in (documents, kept)]
    rows = [_judged(table, name, (documents, kept), margins) for name in table.rows]
    decided_by = _decided_by(results, table, rows)
    q_values = _q_values(rows)
    return [
        dataclasses.replace(row, decided_by=decided_by[row.name], q_value=q_values.get(row.name))
        for row in rows
    ]


def interaction(results: Mapping, a: str, b: str) -> Comparison | None:
    """(a − what a is against) − (b − what b is against) by the names of two rows, over the seeds that all
    four have: whether what a row changes depends on what else is there.
    """
    table = Table(results)
    return table.compared(a, minus(table.differences[a], table.differences[b]), documents_of(results))


def gain_interaction(results: Mapping, a: str, b: str) -> Comparison | None:
    """The gain on − off of row a − that of row b, by their names, over the seeds that both have."""
    table = Table(results)
    return table.compared(a, minus(table.gains[a], table.gains[b]), documents_of(results))


def are_chosen(results: Mapping) -> bool:
    """Whether these are some rows of a table: one may have chosen them, and their seeds, by what the table
    said. Older files say so in their command alone.
    """
    return results["config"].get("rows") == "chosen" or " --rows " in results["command"]


def _judged(
    table: Table, name: str, texts: Sequence[Documents | None], margins: Sequence[Margin | None]
) -> JudgedRow:
    """texts, margins: of all documents, and of those without near-duplicates. What needs other rows or other
    documents is left open.
    """
    row, (documents, kept) = table.rows[name], texts
    nats = losses(row)
    spread = ratio(np.mean(list(nats.values()), axis=0), documents) if nats else None
    against = table.rows.get(row["against"])

    def compared(by_name: Mapping[str, BySeed], text: Documents | None = documents) -> Comparison | None:
        return None if text is None else table.compared(name, by_name.get(name), text)

    gain_difference = compared(table.gain_differences)
    return JudgedRow(
        row=row,
        seeds=len(nats),
        paired=len(table.differences[name]),
        bits_per_byte=None if spread is None else spread.mean,
        interval=None if spread is None else spread.interval,
        difference=compared(table.differences),
        interaction=compared(table.interactions),
        gain=compared(table.gains),
        gain_apart=compared(table.gains, kept),
        gain_difference=gain_difference,
        verdict=_verdict(table, name, documents, margins[0]),
        verdict_apart=None if kept is None else _verdict(table, name, kept, margins[1]),
        decided_by=(),
        gain_verdict=None if are_chosen(table.results) else verdict_on_gain(row, against, gain_difference),
        margin=margins[0] if claim_of(row) == "equal" else None,
        q_value=None,
        unfinished=tuple(trial for trial in by_seed(row) if trial["status"] != "finished"),
    )


def _verdict(
    table: Table, name: str, documents: Documents, margin: Margin, least: Mapping[str, int] = LEAST
) -> str:
    """On these documents alone."""
    row, found = table.rows[name], table.compared(name, table.decisive[name], documents)
    seeds = len(table.on[name] if row["against"] is None else table.decisive[name])
    verdict = verdict_of_row(row, seeds, found, margin.value, least)
    if are_chosen(table.results) and found is not None and not too_few(found, least) and verdict != DIVERGED:
        return f"{CHOSEN}: {outcome(found, least)}"
    return verdict


def _decided_by(results: Mapping, table: Table, rows: Sequence[JudgedRow]) -> dict[str, tuple[str, ...]]:
    """By row the groups without which the verdict is another; none where nothing was to be judged."""
    judged = [row for row in rows if _has_verdict(row)]
    found: dict[str, tuple[str, ...]] = {row.name: () for row in rows}
    names_d = np.array(groups_of(results))
    least = {**LEAST, "group": LEAST["group"] - 1}  # as many as there are less the one
    for group in np.unique(names_d).tolist() if judged else ():
        documents = documents_of(results, names_d != group)
        margin = margin_of(table, documents, least)
        for row in judged:
            if _verdict(table, row.name, documents, margin, least) != row.verdict:
                found[row.name] += (group,)
    return found


def _q_values(rows: Sequence[JudgedRow]) -> dict[str, float]:
    judged = [row for row in rows if _has_verdict(row)]
    if not judged:
        return {}
    from scipy import stats  # takes longer to import than all the rest

    q_values = stats.false_discovery_control([row.decisive.p_value for row in judged])
    return {row.name: float(q_value) for row, q_value in zip(judged, q_values)}


def _has_verdict(row: JudgedRow) -> bool:
    """Whether something was judged: no reference, no row that diverged or was chosen, of nothing too few."""
    if row.decisive is None or row.verdict == DIVERGED or row.verdict.startswith(CHOSEN):
        return False
    return too_few(row.decisive) is None
