"""The ablation table of a family, by name."""

from experiments.ablations.gopher import gopher
from experiments.ablations.palm import palm
from experiments.ablations.retro import retro
from models.families import configuration
from studies.rows import Row


def ablation_rows(family: str, size: str) -> list[Row]:
    """All rows of the table of `family` at `size`, the reference first."""
    return {"palm": palm, "gopher": gopher, "retro": retro}[family](configuration(f"{family}/{size}"))
