"""Budgets, and the sizes that take their place."""

import pytest

from errors import InputError
from experiments.ablations.by_family import ablation_rows
from models.families import FAMILIES, configuration
from models.ladder import RUNGS
from studies.peaks import PEAKS, peak_of
from studies.presets import PRESETS, preset_of
from training.published import published


def test_a_size_brings_its_vocabulary_and_tokens_become_steps():
    preset = preset_of("default", "40m", "50M")
    assert (preset.size, preset.vocab_size, preset.length) == ("40m", 32_000, 512)
    assert preset.steps == -(-50_000_000 // (preset.batch_size * 512))
    assert preset_of("default", None, None) == PRESETS["default"]
    assert preset_of("default", "40m", None, vocab_size=300, steps=7).vocab_size == 300


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": "44m", "tokens": None}, "--size 44m: give one that every family has, such as 40m"),
        ({"size": None, "tokens": "5M", "steps": 3}, "either --tokens or --steps"),
        ({"size": None, "tokens": "five"}, "--tokens five"),
    ],
)
def test_what_is_none_is_named(given, message):
    with pytest.raises(InputError, match=message):
        preset_of("default", **given)


@pytest.mark.parametrize("size", RUNGS)
def test_every_table_has_rows_of_every_rung(size):
    for family in FAMILIES:
        rows = ablation_rows(family, size)
        assert rows[0].config.decoder.num_layers == configuration(f"{family}/{size}").decoder.num_layers


def test_larger_models_take_the_peak_of_their_papers_line_and_small_ones_what_was_found():
    gopher = configuration("gopher/40m")
    assert peak_of(gopher) == published("gopher", "40m", 40_253_952).peak
    assert peak_of(gopher, "palm") == pytest.approx(1e-2)
    assert peak_of(configuration("gopher/tiny")) == PEAKS["gopher 128 wide, by gopher's recipe"]
    assert peak_of(configuration("gopher/smoke")) is None
