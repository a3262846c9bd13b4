"""The peak learning rates that `python -m experiments.sweep` finds for the small sizes of the tables."""

import math
from collections.abc import Mapping
from typing import Any

from models.families import count, family_of, parameter_shapes
from training.published import published

SMALL = 4e6  # parameters, of tiny and below

# The best of the sweep, by form_name: none yet. What is not here takes its recipe's own.
PEAKS: Mapping[str, float] = {
    "palm 128 wide, by palm's recipe": 6e-2,
    "palm 128 wide, by gopher's recipe": 6e-3,
    "gopher 128 wide, by gopher's recipe": 6e-3,  # 3e-3 is as good
    "gopher 128 wide, by palm's recipe": 6e-2,
}


def form_name(config: Any, recipe: str) -> str:
    """What a peak belongs to: a family with its block and its start, a width and a recipe."""
    name, decoder = family_of(config).name, family_of(config.decoder).name
    if config.retrieves:
        name += "-copying" if config.cca_initialisation == "copying" else ""
        name += " on palm" if decoder == "palm" else ""
    return f"{name} {config.decoder.d_model} wide, by {recipe}'s recipe"


def peak_of(config: Any, recipe: str | None = None) -> float | None:
    """The peak that was found for `config`, by its family's own recipe or another. Where none was, larger
    models take the one on the line through their paper's, and small ones their recipe's: None.
    """
    recipe = recipe or family_of(config).recipe
    name, parameters = form_name(config, recipe), count(parameter_shapes(config))
    if name in PEAKS or parameters < SMALL:
        return PEAKS.get(name)
    return published(recipe, "", parameters).peak


def best_peaks(results: Mapping[str, Any]) -> dict[str, float]:
    """By form, the peak with the least loss over the last tenth of training (less than an epoch by default);
    a run that did not finish is no candidate.

    results: of experiments.sweep.
    """
    losses: dict[str, dict[float, float]] = {}
    for row in results["rows"]:
        [trial] = row["cells"]
        loss = math.inf if trial["train_nats"] is None else trial["train_nats"]
        losses.setdefault(row["group"], {})[row["facts"]["peak"]] = loss
    return {form: min(tried, key=lambda peak: tried[peak]) for form, tried in losses.items()}
