"""The square: dense or retrieval, times Gopher's or PaLM's block, at equal training FLOPs. Does the parallel
block change what retrieval is worth?

python -m experiments.square                   three seeds
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.flops import train_flops_per_token
from experiments.command import command
from experiments.study import StudyOptions, resolved, run_study
from experiments.variants import Variant
from models.families import configuration, with_decoder_fields

# RETRO's AdamW trains all four, so that a block's recipe is no part of the difference. PaLM's embedding is
# √d_model times as large, which calls for a learning rate of its own.
RECIPE = "retro"
PALM_PEAKS = (6e-3, 1.2e-2, 2.4e-2)
PALM_NOTE = "by RETRO's AdamW, though Adam costs this block much (ablate palm): no last word on the block"


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """At what budget."""

    out: Path = Path("runs/square")
    """Folder of the table."""


def square(options: Options) -> None:
    """Trains the four models, writes results.json, and prints the table."""
    run_study("square", options, rows(options), options.out)


def rows(options: StudyOptions) -> list[Variant]:
    """The dense rows train longer, until they have cost what Gopher's block with retrieval costs."""
    preset = resolved(options)
    retro = dataclasses.replace(
        configuration(f"retro/{preset.size}"), cca_initialisation="copying", encoder_embedding="shared"
    )
    budget = preset.steps * _flops(retro, preset)
    found = []
    for block, decoder in (("Gopher", retro.decoder), ("PaLM", configuration(f"palm/{preset.size}"))):
        dense = f"{block} block, dense"
        for name, config in (
            (dense, decoder),
            (f"{block} block, retrieval", dataclasses.replace(retro, decoder=decoder)),
        ):
            training = {"recipe": RECIPE, "steps": max(1, round(budget / _flops(config, preset)))}
            peaks, note = (PALM_PEAKS, PALM_NOTE) if block == "PaLM" else ((), "")
            found.append(
                Variant(
                    name, f"{block} block", None if name == dense else dense, {"steps": training["steps"]},
                    note=note, config=config, training=training, peaks=peaks,
                    facts={"block": block, "budget": budget},
                )
            )  # fmt: skip
    return found


def _flops(config: Any, preset: Any) -> float:
    """Of a step, with the preset's vocabulary, length and batch."""
    sized = with_decoder_fields(config, vocab_size=preset.vocab_size, max_length=preset.length)
    return train_flops_per_token(sized, preset.length) * preset.batch_size * preset.length


if __name__ == "__main__":
    command(square, Options, "Dense or retrieval, times Gopher's or PaLM's block, at equal FLOPs.")
