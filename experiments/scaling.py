"""How do bits per byte fall with training FLOPs, and what does RETRO gain as width, database and neighbours
grow? Four widths of every family at four equal budgets (RETRO, figures 1 and 4, in miniature).

python -m experiments.scaling                   three seeds
python -m experiments.scaling --steps 305       half the budget
python -m experiments.scaling --preset smoke    the same path in minutes

Must reach with 305 steps, on the text, widths and budgets of the file's commit: on − off of the copying form
is −0.024 to −0.032 bits per byte, over packages cannot tell (experiments/results/scaling).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command import command
from models.families import configuration
from reports.study.table import print_table
from studies.presets import train_flops_per_step
from studies.rows import Reevaluation, Row
from studies.study import StudyOptions, resolved, run_study
from studies.widths import narrowed

WIDTHS = (0.25, 0.5, 0.75, 1.0)  # of the preset's size
BUDGETS = (0.125, 0.25, 0.5, 1.0)  # of what the preset's steps cost Gopher at its full width
SHARES = (0.01, 0.1)
NEIGHBOURS = (1, 4, 10)


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """At what budget."""

    out: Path = Path("runs/scaling")
    """Folder of the table."""


def scaling(options: Options) -> None:
    """Trains every width of every family at every budget, writes results.json, and prints the table."""
    print_table(run_study("scaling", options, rows(options), options.out), options.out)


def rows(options: StudyOptions) -> list[Row]:
    """One row per family, width and budget; RETRO's are compared with Gopher's of the same width and budget,
    and at the largest budget also read with other databases and neighbours.
    """
    preset = resolved(options)
    forms = {
        "gopher": configuration(f"gopher/{preset.size}"),
        "palm": configuration(f"palm/{preset.size}"),
        "retro": configuration(f"retro/{preset.size}-copying"),
    }

    whole = preset.steps * train_flops_per_step(forms["gopher"], preset)
    table: list[Row] = []
    for share in BUDGETS:
        for width in WIDTHS:
            for family, form in forms.items():
                config = narrowed(form, width)
                steps = max(1, round(share * whole / train_flops_per_step(config, preset)))
                d_model = config.decoder.d_model
                name = f"{family} {d_model} wide, {share:.0%} of the budget"
                facts = {"budget": share * whole, "d_model": d_model}
                against = f"gopher {d_model} wide, {share:.0%} of the budget" if config.retrieves else None
                group = f"Budget {share * whole:.2g} FLOPs"
                table.append(
                    Row(
                        name, group, against, {"d_model": d_model, "steps": steps}, config=config,
                        training={"steps": steps}, facts=facts,
                    )
                )  # fmt: skip
                if config.retrieves and share == max(BUDGETS):
                    table += evaluations(name, against, facts)
    return table


def evaluations(name: str, against: str, facts: dict[str, Any]) -> list[Row]:
    """RETRO of one width with less to retrieve from, and with fewer and more neighbours, against the dense
    model.
    """
    return [
        *(
            Row(
                f"{name}, {share:.0%} of the database", "RETRO's gain over Gopher: database", against,
                {"database": share}, reevaluation=Reevaluation(name, share=share), facts=facts,
            )
            for share in SHARES
        ),
        *(
            Row(
                f"{name}, k = {k}", "RETRO's gain over Gopher: neighbours", against, {"k": k},
                reevaluation=Reevaluation(name, k=k), facts=facts,
            )
            for k in NEIGHBOURS
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    command(scaling, Options, "Bits per byte over training FLOPs, and what retrieval adds.")
