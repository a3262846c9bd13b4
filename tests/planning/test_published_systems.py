"""The arithmetic gives back what was published, and its shares are those of its own step."""

import dataclasses

import pytest

from planning.published_systems import (
    calibrated_efficiency,
    communication_seconds,
    published_systems,
    step_seconds,
    system_rows,
)

SYSTEMS = published_systems()
# PaLM table 3: model FLOPs utilisation with attention, and the number of chips.
PUBLISHED = {"MT-NLG": (0.302, 2240), "Gopher": (0.325, 4096), "PaLM": (0.462, 6144)}
by_system = pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)


@by_system
def test_inputs_are_those_that_palm_counts_with(system):
    mfu, chips = PUBLISHED[system.name.split()[0]]
    assert system.chips == chips
    assert system.mfu(system.published_step_seconds) == pytest.approx(mfu, abs=0.0015)


@by_system
def test_calibration_gives_the_published_step_back(system):
    efficiency = calibrated_efficiency(system)
    assert 0 < efficiency < 1
    assert step_seconds(system, efficiency) == pytest.approx(system.published_step_seconds)


def test_palm_recomputes_as_much_as_its_table_22_says():
    palm = SYSTEMS[-1]
    assert palm.model_flops + palm.recomputed_flops == pytest.approx(4.10e12, rel=0.01)


def test_more_micro_batches_make_a_smaller_bubble_and_no_more_traffic():
    few = SYSTEMS[0]
    many = dataclasses.replace(few, micro_batches=10 * few.micro_batches)
    assert step_seconds(many, 0.5) < step_seconds(few, 0.5)
    assert communication_seconds(many) == communication_seconds(few)


def test_only_what_is_split_is_sent():
    alone = dataclasses.replace(SYSTEMS[0], tensor=1, data=1, stages=1)
    assert sum(communication_seconds(alone).values()) == 0


def test_a_prediction_does_not_know_what_it_predicts():
    """PaLM's own time moves its calibration and the others' predictions, not its own."""
    slower = dataclasses.replace(SYSTEMS[-1], published_step_seconds=2 * SYSTEMS[-1].published_step_seconds)
    before, after = system_rows(SYSTEMS), system_rows([*SYSTEMS[:-1], slower])
    assert after[-1]["predicted_mfu"] == before[-1]["predicted_mfu"]
    assert all(b["predicted_mfu"] > a["predicted_mfu"] for a, b in zip(after[:-1], before[:-1]))
