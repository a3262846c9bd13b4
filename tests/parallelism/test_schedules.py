"""A schedule is right when everything is done once, nothing before what it needs, and it idles and holds as
much as the papers say.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import InputError
from parallelism.strategies.schedules import (
    BACKWARD,
    FORWARD,
    SCHEDULES,
    Task,
    bubble,
    dispatch_order,
    idle_share,
    live_inputs,
    schedule,
    simulate,
)

NAMES, STAGES, MICRO_BATCHES = st.sampled_from(sorted(SCHEDULES)), st.integers(1, 9), st.integers(1, 20)
DURATION = st.floats(0.1, 10)


@given(NAMES, STAGES, MICRO_BATCHES)
def test_every_stage_does_every_task_once(name, stages, micro_batches):
    every = sorted(Task(kind, k) for kind in (FORWARD, BACKWARD) for k in range(micro_batches))
    assert [sorted(tasks) for tasks in schedule(name, stages, micro_batches)] == [every] * stages


@given(NAMES, st.integers(1, 6), st.integers(1, 10), st.data())
def test_whatever_the_durations_nothing_starts_before_what_it_needs(name, stages, micro_batches, data):
    forward, backward = (data.draw(st.lists(DURATION, min_size=stages, max_size=stages)) for _ in "fb")
    spans = simulate(schedule(name, stages, micro_batches), forward, backward)
    start = {(span.stage, *span.task): span.start for span in spans}
    end = {(span.stage, *span.task): span.end for span in spans}
    assert len(start) == len(spans) == 2 * stages * micro_batches
    for k in range(micro_batches):
        for stage in range(stages):
            assert start[stage, BACKWARD, k] >= end[stage, FORWARD, k]
            if stage:
                assert start[stage, FORWARD, k] >= end[stage - 1, FORWARD, k]
                assert start[stage - 1, BACKWARD, k] >= end[stage, BACKWARD, k]
    for stage in range(stages):
        own = [span for span in spans if span.stage == stage]
        assert all(a.end <= b.start for a, b in zip(own, own[1:]))


@given(NAMES, STAGES, MICRO_BATCHES, DURATION, DURATION)
def test_equal_stages_idle_as_the_formula_says(name, stages, micro_batches, forward, backward):
    spans = simulate(schedule(name, stages, micro_batches), [forward] * stages, [backward] * stages)
    assert idle_share(spans, stages) == pytest.approx(bubble(stages, micro_batches), abs=1e-9)


@given(STAGES, MICRO_BATCHES)
def test_gpipe_holds_all_inputs_and_1f1b_those_of_the_stages_to_come(stages, micro_batches):
    def peaks(name):
        return [max(live_inputs(tasks)) for tasks in schedule(name, stages, micro_batches)]

    assert peaks("gpipe") == [micro_batches] * stages
    assert peaks("1f1b") == [min(stages - stage, micro_batches) for stage in range(stages)]


@given(NAMES, STAGES, MICRO_BATCHES)
def test_gradients_are_summed_in_one_order(name, stages, micro_batches):
    for tasks in schedule(name, stages, micro_batches):
        assert [k for kind, k in tasks if kind == BACKWARD] == list(range(micro_batches))


@given(NAMES, STAGES, MICRO_BATCHES)
def test_the_order_of_dispatch_is_that_of_every_stage(name, stages, micro_batches):
    orders = schedule(name, stages, micro_batches)
    order = dispatch_order(orders)
    assert [[task for stage, task in order if stage == s] for s in range(stages)] == orders


def test_a_schedule_that_stands_still_is_told():
    backward_first = [[Task(BACKWARD, 0), Task(FORWARD, 0)]]
    with pytest.raises(ValueError, match="stands still"):
        simulate(backward_first, [1], [1])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("zigzag", 2, 2), "no schedule 'zigzag'; choose one of gpipe, 1f1b"),
        (("gpipe", 2, 0), "0 micro-batches"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        schedule(*arguments)
