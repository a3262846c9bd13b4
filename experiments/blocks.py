"""Is PaLM's block better than Gopher's, or its recipe? Two blocks times two recipes, each with its own peak
learning rate.

python -m experiments.blocks                   six seeds
python -m experiments.blocks --preset smoke    the same path in minutes

Must reach: a verdict on the block under either recipe, and on the headline of both together. Its table and
its time are not measured yet.
"""

from dataclasses import dataclass
from pathlib import Path

from command import command
from models.families import configuration
from reports.study.table import print_table
from studies.rows import Reevaluation, Row
from studies.study import StudyOptions, resolved, run_study

RECIPES = {"gopher": "Adam", "palm": "Adafactor"}
Z_LOSS = "the recipe's z-loss with it"


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """At what budget."""

    seeds: int = 6
    """Number of seeds of every row."""
    out: Path = Path("runs/blocks")
    """Folder of the table."""


def blocks(options: Options) -> None:
    """Trains the four models, writes results.json, and prints the table."""
    print_table(run_study("blocks", options, rows(options), options.out, null_check=True), options.out)


def rows(options: StudyOptions) -> list[Row]:
    """The square of block and recipe along both of its sides, and its diagonal: what each paper trains."""
    size = resolved(options).size
    gopher, palm = configuration(f"gopher/{size}"), configuration(f"palm/{size}")

    def trained(block, config, recipe, against):
        optimiser = RECIPES[recipe]
        name = f"{block}'s block by {optimiser}"
        note = "" if recipe == block.lower() else Z_LOSS
        return Row(
            name, f"By {optimiser}", against, {"block": block, "recipe": recipe}, note=note, config=config,
            training={"recipe": recipe}, facts={"recipe": recipe},
        )  # fmt: skip

    def beside(of, against, group):
        return Row(f"{of}, against {against}", group, against, {}, reevaluation=Reevaluation(of))

    by_adam, by_adafactor = "Gopher's block by Adam", "Gopher's block by Adafactor"
    return [
        trained("Gopher", gopher, "gopher", None),
        trained("PaLM", palm, "gopher", by_adam),
        trained("Gopher", gopher, "palm", None),
        trained("PaLM", palm, "palm", by_adafactor),
        beside(by_adafactor, by_adam, "Recipe"),
        beside("PaLM's block by Adafactor", "PaLM's block by Adam", "Recipe"),
        beside("PaLM's block by Adafactor", by_adam, "Block and recipe together"),
    ]


if __name__ == "__main__":
    command(blocks, Options, "Two blocks times two recipes.")
