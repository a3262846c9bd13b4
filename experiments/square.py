"""The square: dense or retrieval, times Gopher's or PaLM's block, at equal training FLOPs. Does the parallel
block change what retrieval is worth?

python -m experiments.square                   three seeds, each block by its own family's recipe
python -m experiments.square --recipe retro    both by RETRO's AdamW, which suits PaLM's block badly

Twenty minutes of two cores. Must reach, on the text of the file's commit: on − off of the copying form is
−0.033 bits per byte on Gopher's block, −0.012 on PaLM's, −0.003 by AdamW, over packages cannot tell
(experiments/results/square, square-retro-recipe).
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from command import command
from models.families import configuration
from reports.study.table import print_table
from studies.presets import train_flops_per_step
from studies.rows import Row
from studies.study import StudyOptions, resolved, run_study

PALM_NOTE = "by RETRO's AdamW, though Adam costs this block much (ablate palm): no last word on the block"


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """By which recipe, and at what budget."""

    recipe: Literal["own", "retro"] = "own"
    """`own`: Gopher's block by RETRO's AdamW, PaLM's by PaLM's Adafactor, so that both are trained as they
    are meant to be. `retro`: both by AdamW, so that the recipe is no part of the difference.
    """
    out: Path | None = None
    """Folder of the table. Default: runs/square, or runs/square-retro-recipe."""


def square(options: Options) -> None:
    """Trains the four models, writes results.json, and prints the table."""
    out = options.out or Path("runs/square" if options.recipe == "own" else "runs/square-retro-recipe")
    print_table(run_study("square", options, rows(options), out), out)


def rows(options: Options) -> list[Row]:
    """The dense rows train longer, until they have cost what Gopher's block with retrieval costs."""
    preset = resolved(options)
    retro = configuration(f"retro/{preset.size}-copying")
    budget = preset.steps * train_flops_per_step(retro, preset)
    table: list[Row] = []
    for block, decoder in (("Gopher", retro.decoder), ("PaLM", configuration(f"palm/{preset.size}"))):
        dense = f"{block} block, dense"
        own = "palm" if block == "PaLM" and options.recipe == "own" else "retro"
        note = PALM_NOTE if block == "PaLM" and own == "retro" else ""
        for name, config in (
            (dense, decoder),
            (f"{block} block, retrieval", dataclasses.replace(retro, decoder=decoder)),
        ):
            training = {"recipe": own, "steps": max(1, round(budget / train_flops_per_step(config, preset)))}
            table.append(
                Row(
                    name, f"{block} block", None if name == dense else dense, {"steps": training["steps"]},
                    note=note, config=config, training=training,
                    facts={"block": block, "budget": budget},
                )
            )  # fmt: skip
    return table


if __name__ == "__main__":
    command(square, Options, "Dense or retrieval, times Gopher's or PaLM's block, at equal FLOPs.")
