"""When does retrieval start to pay? On − off over training tokens, for RETRO as published and for the copying
initialisation (ours), from one long run of each seed that is evaluated on its way.

python -m experiments.payoff                   three seeds, 3.1M tokens each; the copying form a quarter of it
python -m experiments.payoff --steps 25000     one budget of your own; of the copying form a quarter

Must reach, of the published form, on the text and rows of the file's commit: −0.001 bits per byte at 0.8M
tokens (cannot tell), −0.005 at 1.6M and −0.010 at 3.1M (experiments/results/payoff).
"""

from dataclasses import dataclass
from pathlib import Path

from command import command
from models.families import configuration
from reports.study.table import print_table
from studies.rows import Reevaluation, Row
from studies.study import StudyOptions, resolved, run_study

COPYING = 1 / 4  # of the steps: it pays from the start
POINTS = 6  # each at half the steps of the next
STEPS = 5  # times the preset's


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """At what budget."""

    out: Path = Path("runs/payoff")
    """Folder of the table."""


def payoff(options: Options) -> None:
    """Trains both forms, writes results.json, and prints the table."""
    print_table(run_study("payoff", options, rows(options), options.out), options.out)


def rows(options: StudyOptions) -> list[Row]:
    """Per initialisation the dense model and RETRO by one schedule, at its end and at every point before it,
    RETRO against the dense model after as many tokens; and RETRO at the end with random neighbours: what pays
    has to be what was retrieved.
    """
    preset = resolved(options)
    whole = preset.steps * (1 if options.steps else STEPS)
    table: list[Row] = []
    for name, size, steps in (
        ("published", preset.size, whole),
        ("copying", f"{preset.size}-copying", max(1, round(COPYING * whole))),
    ):
        retro = configuration(f"retro/{size}")
        dense, group = f"dense beside {name}", f"{name} initialisation"
        points = tuple(sorted({steps >> halvings for halvings in range(1, POINTS)} - {0}))
        training = {"recipe": "retro", "steps": steps, "evaluate_at": points}
        for model, config, against in ((dense, retro.decoder, None), (name, retro, dense)):
            table.append(Row(model, group, against, {"steps": steps}, config=config, training=training))
            table += [
                Row(
                    _after(model, step), group, against and _after(against, step), {"steps": step},
                    reevaluation=Reevaluation(model, step=step),
                )
                for step in points
            ]  # fmt: skip
        random = Reevaluation(name, random=True)
        change = {"neighbours": "random"}
        table.append(Row(f"{name}, random neighbours", group, name, change, reevaluation=random))
    return table


def _after(model: str, step: int) -> str:
    return f"{model}, after {step:,} steps"


if __name__ == "__main__":
    command(payoff, Options, "When does retrieval start to pay? On − off over training tokens.")
