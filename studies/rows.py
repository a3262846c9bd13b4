"""The rows of the ablation tables: one changed field each against a family's published form, and what the
paper says of it.

`expects` is the sign of row − reference in bits per byte: "worse" is positive. A difference of the paper's
within 0.002 bits per byte counts as equal.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NEIGHBOURS = (1, 3, 4, 5, 7, 10)  # at evaluation; 2 is the reference and 0 is retrieval off
MOST_NEIGHBOURS = max(NEIGHBOURS)


@dataclass(frozen=True)
class Paper:
    """figure: as printed. expects: worse, better, equal, or None where it makes no claim."""

    figure: str
    expects: str | None
    source: str


@dataclass(frozen=True)
class Reevaluation:
    """How the trials of the row `of` are evaluated once more: retrieval off; k neighbours; a share of the
    database, as the mean over so many `draws` of its documents; an approximate index at nprobe; random
    neighbours; sequences `longer` times as long; in windows of which each but the first overlaps the one
    before it by half, and predicts its other half alone; as they were after `step` steps, one of those that
    they were evaluated at.
    """

    of: str
    off: bool = False
    k: int | None = None
    share: float | None = None
    draws: int = 5
    nprobe: int | None = None
    random: bool = False
    longer: int | None = None
    overlapping: bool = False
    step: int | None = None


@dataclass(frozen=True)
class Row:
    """One row. change: what is changed, as shown.

    interaction: the row whose own difference is subtracted from this row's before it is judged, where a paper
    says that something matters more in one place than in another.

    A row is trained: `config` by `training`, fields of studies.trials.trial.Trial other than the family's
    own, on neighbours found by `keys`; its peak learning rate is that of studies.peaks for its form. It may
    start from the dense trials of the row `retrofit_of`. Or it is a reevaluation of another row's trials.
    facts: further numbers that curves are drawn over.
    """

    name: str
    group: str
    against: str | None
    change: Mapping[str, Any] = field(default_factory=dict)
    paper: Paper | None = None
    note: str = ""
    config: Any = None
    training: Mapping[str, Any] = field(default_factory=dict)
    keys: str = "bert"
    retrofit_of: str | None = None
    reevaluation: Reevaluation | None = None
    interaction: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def changed(
    name: str, group: str, config: Any, against: str, paper: Paper | None, note: str = "", **fields: Any
) -> Row:
    """The row that trains `config` with other `fields`."""
    return Row(name, group, against, fields, paper, note, dataclasses.replace(config, **fields))
