"""Do the papers' ablations come out the same way here? One changed field a row, against the published form.

python -m experiments.ablate palm                                        the whole table, three seeds a row
python -m experiments.ablate retro --rows 'N only' 'F only'              some rows
python -m experiments.ablate gopher --corpus notes/ --out runs/notes     your own text

Training takes, in hours of two cores: gopher 0.6, palm 0.7, retro 2.1. Must reach, of the papers' directions:
gopher 3 of 7 reproduced, palm 2 of 8, retro 3 of 24, one opposite in palm (docs/results.md, on the text of
the files' commits). A table of some rows has no verdicts: they may be chosen by what a table said.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from command import command
from experiments.ablations.by_family import ablation_rows
from reports.study.table import print_table
from studies.study import StudyOptions, resolved, run_study


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Which table, and at what budget."""

    family: Positional[Literal["palm", "gopher", "retro"]]
    """Whose ablations."""
    out: Path | None = None
    """Folder of the table. Default: runs/ablate-FAMILY."""


def ablate(options: Options) -> None:
    """Runs the rows of a family's table, writes results.json, and prints the table."""
    out = options.out or Path(f"runs/ablate-{options.family}")
    rows = ablation_rows(options.family, resolved(options).size)
    print_table(run_study(f"ablate {options.family}", options, rows, out, null_check=not options.rows), out)


if __name__ == "__main__":
    command(ablate, Options, "The papers' ablations at a size that a laptop trains.")
