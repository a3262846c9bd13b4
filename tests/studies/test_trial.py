"""What was trained before is found again: a trial's fingerprint names its folder, and the folder says the trial."""

import dataclasses
import json

import pytest

from data.tokenizers import STYLES
from errors import InputError
from models.families import FAMILIES, configuration
from storage.artifacts import fingerprint
from studies.trials.trained import read_trial
from studies.trials.trial import Trial
from training.precision import POLICIES
from training.recipes import RECIPES

BUDGET = {"steps": 600, "batch_size": 16, "length": 512, "evaluation_tokens": 65536}
PALM = Trial("palm", configuration("palm/tiny"), 0, precision="float32", neighbours="neighbours-0", **BUDGET)
COPYING = Trial(
    "retro-copying", configuration("retro/tiny-copying"), 1, precision="mixed", neighbours="neighbours-0",
    recipe="retro", z_loss=0.0, evaluate_at=(150, 300), **BUDGET,
)  # fmt: skip
# As all trials were before Trial.neighbours_across_documents, of which their folders say nothing.
ACROSS = dataclasses.replace(COPYING, neighbours_across_documents=True)
ROUNDED = dataclasses.replace(PALM, precision="bfloat16_stochastic_rounding")
TRIALS = [
    (PALM, "d6ceac792437b59b"), (COPYING, "44d10fcccd372a35"), (ACROSS, "ed5ed3967a6be557"),
    (ROUNDED, "3a443ccef6eb5905"),
]  # fmt: skip


@pytest.mark.parametrize("trial, golden", TRIALS)
def test_golden_fingerprints(trial, golden):
    assert fingerprint(trial.recorded) == golden, (
        "The fields of a trial or of a model configuration have changed, so that every trial made before is "
        "trained anew. If that was meant, write the new fingerprint down and say so in the commit."
    )


@pytest.mark.parametrize("trial, golden", TRIALS)
def test_a_saved_trial_is_read_as_it_was(trial, golden, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(trial.recorded))
    assert read_trial(tmp_path) == trial


@pytest.mark.parametrize(
    "where, value, words",
    [
        (("config",), -1, "config is -1 where a record of fields is due"),
        (("config",), "", "config is '' where a record of fields is due"),
        (("steps",), "many", "steps is 'many'"),
        (("steps",), -3, "steps is -3: a number that is not negative is due"),
        (("seed",), 10**30, "seed is 1000"),
        (("evaluate_at",), [1, "x"], r"evaluate_at\[1\] is 'x' where a whole number is due"),
        (("z_loss",), [], "z_loss is "),
        (("config", "decoder"), 3, "decoder is 3 where a record of fields is due"),
        (("config", "decoder", "d_model"), None, "d_model is None"),
        (("config", "cca_positions"), 1, "cca_positions is 1 where true or false is due"),
    ],
)
def test_a_field_of_another_type_is_named(where, value, words, tmp_path):
    values = json.loads(json.dumps(COPYING.recorded))
    holder = values
    for name in where[:-1]:
        holder = holder[name]
    holder[where[-1]] = value
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=f"config.json is no configuration: .*{words}"):
        read_trial(tmp_path)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_the_names_in_a_family_s_record_exist(family):
    assert family.recipe in RECIPES and family.precision in POLICIES and family.tokenizer in STYLES
