"""What was trained before is found again: a trial's fingerprint names its folder, and the folder says the trial."""

import dataclasses
import json

import pytest

from data.tokenizers import STYLES
from models.families import FAMILIES, configuration
from storage.artifacts import fingerprint
from studies.trials.trained import rebuilt
from studies.trials.trial import Trial
from training.precision import POLICIES
from training.recipes import RECIPES

BUDGET = {"steps": 600, "batch_size": 16, "length": 512, "evaluation_tokens": 65536}
PALM = Trial("palm", configuration("palm/tiny"), 0, precision="float32", neighbours="neighbours-0", **BUDGET)
COPYING = Trial(
    "retro-copying", configuration("retro/tiny-copying"), 1, precision="mixed", neighbours="neighbours-0",
    recipe="retro", z_loss=0.0, evaluate_at=(150, 300), **BUDGET,
)  # fmt: skip
TRIALS = [(PALM, "d6ceac792437b59b"), (COPYING, "ed5ed3967a6be557")]


@pytest.mark.parametrize("trial, golden", TRIALS)
def test_golden_fingerprints(trial, golden):
    assert fingerprint(dataclasses.asdict(trial)) == golden, (
        "The fields of a trial or of a model configuration have changed, so that every trial made before is "
        "trained anew. If that was meant, write the new fingerprint down and say so in the commit."
    )


@pytest.mark.parametrize("trial, golden", TRIALS)
def test_a_saved_trial_is_rebuilt_as_it_was(trial, golden, tmp_path):
    saved = json.loads(json.dumps(dataclasses.asdict(trial)))
    assert rebuilt(saved, (Trial,), tmp_path) == trial


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_the_names_in_a_family_s_record_exist(family):
    assert family.recipe in RECIPES and family.precision in POLICIES and family.tokenizer in STYLES
