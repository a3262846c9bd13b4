"""The losses of a study's rows, and the differences that are judged, each before any mean is taken.

They are paired: the same seeds, the same batches, the same documents. All arrays are float64 [S, R, D]: seeds
in rising order, draws of a database (one where nothing is drawn), and summed nats of documents.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from judging.documents import Documents
from judging.intervals import Comparison, comparison

BySeed = dict[int, np.ndarray]  # → [R, D]


@dataclass(frozen=True)
class Table:
    """The rows of a study's file with their losses, which are read once."""

    results: Mapping[str, Any]

    @cached_property
    def rows(self) -> dict[str, Mapping[str, Any]]:
        return {row["name"]: row for row in self.results["rows"]}

    @cached_property
    def on(self) -> dict[str, BySeed]:
        """By name and seed, as the row was evaluated."""
        return {name: _drawn_losses(row) for name, row in self.rows.items()}

    @cached_property
    def gains(self) -> dict[str, BySeed]:
        """With neighbours − without, the same model."""
        return {name: minus(self.on[name], _without(row)) for name, row in self.rows.items()}

    @cached_property
    def differences(self) -> dict[str, BySeed]:
        """Row − the row that it is against."""
        return {
            name: minus(self.on[name], self.on.get(row["against"], {})) for name, row in self.rows.items()
        }

    @cached_property
    def interactions(self) -> dict[str, BySeed]:
        """Of the rows that name another: their difference − that one's."""
        others = {name: row["interaction"] for name, row in self.rows.items() if row.get("interaction")}
        return {
            name: minus(self.differences[name], self.differences[other]) for name, other in others.items()
        }

    @cached_property
    def gain_differences(self) -> dict[str, BySeed]:
        return {
            name: minus(self.gains[name], self.gains.get(row["against"], {}))
            for name, row in self.rows.items()
        }

    @cached_property
    def decisive(self) -> dict[str, BySeed]:
        """What a row is judged by: its interaction where it has one, otherwise its difference."""
        return self.differences | self.interactions

    def compared(self, name: str, nats: BySeed, documents: Documents) -> Comparison | None:
        """What the differences `nats` of a row come to; None where there are none."""
        if not nats or not len(documents.names):
            return None
        return comparison(np.stack(list(nats.values())), documents, drawn=is_drawn(self.rows[name]))


def losses(row: Mapping, evaluation: str = "nats") -> dict[int, np.ndarray]:
    """Summed nats [D] by seed, of the seeds that finished; `nats_off` are those without neighbours."""
    return {
        trial["seed"]: np.array(trial[evaluation], np.float64)
        for trial in by_seed(row)
        if trial["status"] == "finished" and trial[evaluation] is not None
    }


def by_seed(row: Mapping) -> list[Mapping]:
    """The trials of a row in the order of their seeds."""
    return sorted(row["cells"], key=lambda trial: trial["seed"])


def is_drawn(row: Mapping) -> bool:
    """Whether its database is a share of the documents: which ones is a matter of chance."""
    return row["facts"].get("database", 1.0) < 1


def minus(a: BySeed, b: BySeed) -> BySeed:
    """a − b over the seeds that both have."""
    return {seed: a[seed] - b[seed] for seed in a if seed in b}


def _drawn_losses(row: Mapping) -> BySeed:
    draws = {trial["seed"]: trial.get("draws") for trial in row["cells"]}
    return {seed: np.array(draws[seed] or [nats_d], np.float64) for seed, nats_d in losses(row).items()}


def _without(row: Mapping) -> BySeed:
    return {seed: nats_d[None] for seed, nats_d in losses(row, "nats_off").items()}
