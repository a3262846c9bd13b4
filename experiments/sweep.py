"""At which peak learning rate does each form train best? Five values or more per form, width and recipe, from
a seed of no table.

python -m experiments.sweep                   every form of the tables
python -m experiments.sweep --rows "palm 128 wide, by palm's recipe"
python -m experiments.sweep --preset smoke    the same path in minutes

Must reach: the best value of every form lies inside what was tried, and is the one in studies/peaks.py. Its
table and its time are not measured yet.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Suppress

from command import command
from errors import InputError
from models.families import configuration, family_of
from reports.study.table import print_table
from studies.peaks import best_peaks, form_name
from studies.rows import Row
from studies.study import TUNING_SEED, StudyOptions, resolved, run_study
from studies.widths import narrowed

WIDTHS = (0.25, 0.5, 0.75, 1.0)  # of the preset's size
FACTOR = 2.0  # between neighbouring values
VALUES: Mapping[str, tuple[float, ...]] = {
    "palm": (1.5e-2, 3e-2, 6e-2, 1.2e-1, 2.4e-1),
    "gopher": (7.5e-4, 1.5e-3, 3e-3, 6e-3, 1.2e-2),
    "retro": (7.5e-4, 1.5e-3, 3e-3, 6e-3, 1.2e-2),
}
MOST_VALUES = 8


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Which forms."""

    seeds: Suppress[int] = 1  # one of no table, whatever is asked for
    rows: tuple[str, ...] = ()
    """Forms to train, such as "gopher 128 wide, by palm's recipe". Default: all."""
    out: Path = Path("runs/sweep")
    """Folder of the table."""


def sweep(options: Options) -> None:
    """Trains every form at its five values, then at further ones where the best lies at the edge."""
    size = resolved(options).size
    known = forms(size)
    if unknown := set(options.rows) - set(known):
        raise InputError(f"There is no form {min(unknown)!r}. The forms are: {', '.join(map(repr, known))}.")
    tried = {form: VALUES[known[form][1]] for form in options.rows or known}
    whole = dataclasses.replace(options, rows=())
    while True:
        results = run_study("sweep", whole, rows(size, tried), options.out, seeds=(TUNING_SEED,))
        wider = tried | {form: _widened(tried[form], peak) for form, peak in best_peaks(results).items()}
        if wider == tried:
            break
        tried = wider
    print_table(results, options.out)


def forms(size: str) -> dict[str, tuple[Any, str]]:
    """(configuration, recipe) of every form that a table trains, by name."""
    palm, gopher, retro, copying = (
        configuration(name)
        for name in (f"palm/{size}", f"gopher/{size}", f"retro/{size}", f"retro/{size}-copying")
    )
    every = [
        *(
            (narrowed(form, width), family_of(form).recipe)
            for width in WIDTHS
            for form in (palm, gopher, copying)
        ),
        (retro, "retro"),
        (gopher, "retro"),  # the dense model beside RETRO
        (gopher, "palm"),  # block and recipe apart
        (palm, "gopher"),
        (dataclasses.replace(copying, decoder=palm), "palm"),
        (palm, "retro"),  # the square by one recipe
        (dataclasses.replace(copying, decoder=palm), "retro"),
    ]
    return {form_name(config, recipe): (config, recipe) for config, recipe in every}


def rows(size: str, tried: Mapping[str, tuple[float, ...]]) -> list[Row]:
    """One row per form and value that is tried."""
    return [
        Row(
            f"{form}, {peak:g}", form, None, {"peak": peak}, config=config,
            training={"recipe": recipe, "peak": peak}, facts={"peak": peak},
        )
        for form, (config, recipe) in forms(size).items()
        for peak in tried.get(form, ())
    ]  # fmt: skip


def _widened(values: tuple[float, ...], best: float) -> tuple[float, ...]:
    """`values`, and one more beyond the best where that lies at the edge."""
    if len(values) >= MOST_VALUES or best not in (values[0], values[-1]):
        return values
    return (best / FACTOR, *values) if best == values[0] else (*values, best * FACTOR)


if __name__ == "__main__":
    command(sweep, Options, "The peak learning rate of every form, from a seed of no table.")
