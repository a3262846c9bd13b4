"""A spike is gone back before: the same bits as a run that was told to leave out the same batches."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import InputError
from tests.training.test_loop import batches, rate, strategy, training
from training.checkpoints import Checkpoints
from training.loop import CHECKPOINTS, Diverged, train
from training.metrics import read_metrics
from training.spikes import FILE_NAME, Skipped, SpikeRule, batch_number, merged, read_skipped, write_skipped

STEPS, POISONED = 24, (17, 18)  # batches
RULE = SpikeRule(rise=100.0, back=4, skip=2)


def poisoned(number):
    batch = batches()(number)
    return {"x": 100 * batch["x"]} if number in POISONED else batch


def with_spikes(rule=RULE):
    return dataclasses.replace(training(STEPS), spikes=rule)


def same_bits(a, b):
    return all(
        np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def test_a_run_that_went_back_is_one_that_was_told_to_leave_out_the_same_batches(tmp_path, capsys):
    gone_back = train(with_spikes(), strategy(), poisoned, rate, tmp_path / "back")
    # The update after 17 others spikes: back at least 4 steps, to the checkpoint of step 12.
    [spike] = read_skipped(tmp_path / "back").spikes
    assert (spike["step"], spike["back_to"], spike["batches"]) == (18, 12, [12, 20])
    assert "spike at step 18" in capsys.readouterr().err

    write_skipped(tmp_path / "told", Skipped(((12, 20),)))
    told = train(training(STEPS), strategy(), poisoned, rate, tmp_path / "told")
    assert same_bits(gone_back, told)
    lines = [read_metrics(tmp_path / name) for name in ("back", "told")]
    losses = [[line["loss"] for line in of_run] for of_run in lines]
    assert losses[0] == losses[1] and len(losses[0]) == STEPS

    without = train(training(STEPS), strategy(), poisoned, rate, tmp_path / "without")
    assert not same_bits(gone_back, without)
    assert max(losses[0][12:]) < max(line["loss"] for line in read_metrics(tmp_path / "without")[12:])


@pytest.mark.parametrize("dies_at", [13, 17, 20, 23])
def test_killed_before_or_after_the_spike_it_ends_with_the_same_bits(tmp_path, dies_at):
    whole = train(with_spikes(), strategy(), poisoned, rate, tmp_path / "whole")

    def interrupted(number):
        if number == dies_at:
            raise KeyboardInterrupt
        return poisoned(number)

    with pytest.raises(KeyboardInterrupt):
        train(with_spikes(), strategy(), interrupted, rate, tmp_path / "parts")
    parts = train(with_spikes(), strategy(), poisoned, rate, tmp_path / "parts")
    assert same_bits(whole, parts)
    assert read_skipped(tmp_path / "whole") == read_skipped(tmp_path / "parts")


def test_killed_while_it_goes_back_it_meets_the_spike_again(tmp_path, monkeypatch):
    whole = train(with_spikes(), strategy(), poisoned, rate, tmp_path / "whole")

    def killed(folder, skipped):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("training.loop.write_skipped", killed)
        with pytest.raises(KeyboardInterrupt):
            train(with_spikes(), strategy(), poisoned, rate, tmp_path / "parts")
    assert Checkpoints(tmp_path / "parts" / CHECKPOINTS).latest() == 12
    assert same_bits(whole, train(with_spikes(), strategy(), poisoned, rate, tmp_path / "parts"))


def test_it_does_not_go_back_beyond_what_was_evaluated(tmp_path):
    train(dataclasses.replace(training(15), spikes=RULE), strategy(), poisoned, rate, tmp_path)
    train(dataclasses.replace(with_spikes(), first=15), strategy(), poisoned, rate, tmp_path)
    [spike] = read_skipped(tmp_path).spikes
    assert (spike["back_to"], spike["batches"]) == (15, [15, 20])


def test_a_run_that_never_mends_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("training.loop.MOST", 3)
    with pytest.raises(Diverged, match="spike 4"):
        train(with_spikes(SpikeRule(rise=-1e9, back=4, skip=0)), strategy(), batches(), rate, tmp_path)


def test_a_gradient_norm_is_a_spike_too():
    before = [{"loss": 1.0, "grad_norm": 2.0}] * 10
    assert SpikeRule(norm=5.0).says({"loss": 1.0, "grad_norm": 11.0}, before)
    assert not SpikeRule(norm=5.0).says({"loss": 9.0, "grad_norm": 9.0}, before)
    assert SpikeRule(rise=5.0).says({"loss": 6.5, "grad_norm": 0.0}, before)
    assert not SpikeRule(rise=5.0).says({"loss": 6.5, "grad_norm": 0.0}, before[1:])  # too few to tell


RANGES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 9)).map(lambda r: (r[0], r[0] + r[1])), max_size=6
)


@given(RANGES)
def test_the_batches_are_all_but_those_left_out_in_order(ranges):
    skipped = merged(ranges)
    left = [number for number in range(200) if not any(a <= number < b for a, b in ranges)]
    assert [batch_number(update, skipped) for update in range(50)] == left[:50]


def test_what_is_no_range_and_a_damaged_file_are_named(tmp_path):
    with pytest.raises(InputError, match="5:5"):
        merged([(5, 5)])
    write_skipped(tmp_path, Skipped(((2, 3),)))
    assert read_skipped(tmp_path).ranges == ((2, 3),)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes().replace(b"2", b"1", 1))
    with pytest.raises(InputError, match="skipped.json.*damaged"):
        read_skipped(tmp_path)
