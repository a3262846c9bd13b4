"""The rows of Gopher's ablation table."""

from typing import Any

from experiments.ablations.lengths import lengths
from studies.rows import Paper, Reevaluation, Row, changed


def gopher(config: Any) -> list[Row]:
    def row(name, group, paper=None, **fields):
        return changed(name, group, config, "published", paper, **fields)

    def recipe(name, group, paper, **training):
        return Row(name, group, "published", training, paper, config=config, training=training)

    appendix = "Gopher, appendix C"
    nearest, stochastic = "bfloat16, rounded to the nearest", "bfloat16, stochastic rounding"
    return [
        Row("published", "Published form", None, config=config),
        row("LayerNorm", "Norm", norm="layer"),
        row("learned positions", "Positions", positions="learned"),
        *lengths("published", "learned positions", relative=True),
        row("ReLU", "Feed-forward", activation="relu"),
        recipe(
            "AdamW", "Recipe", Paper("better than Adam", "better", "Chinchilla, appendix G"), recipe="retro"
        ),
        Row(
            "Adafactor instead of Adam", "Recipe", "published", {"recipe": "palm"},
            Paper("Adafactor was worse and less stable", "worse", "Gopher"), "with PaLM's schedule", config,
            {"recipe": "palm"},
        ),
        recipe(
            "bfloat16 activations", "Precision",
            Paper("used below 7.1B, float32 parameters", "equal", appendix), precision="mixed",
        ),
        recipe(
            stochastic, "Precision", Paper("does not fully recover mixed precision", "worse", appendix),
            precision="bfloat16_stochastic_rounding",
        ),
        recipe(nearest, "Precision", None, precision="bfloat16"),
        Row(
            "rounding to the nearest against stochastic", "Precision", stochastic, {"precision": "bfloat16"},
            Paper("bfloat16 parameters are rounded stochastically", "worse", appendix),
            reevaluation=Reevaluation(nearest),
        ),
    ]  # fmt: skip
