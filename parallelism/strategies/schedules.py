"""In which order the stages of a pipeline work: GPipe and 1F1B as data, and a clock to run them against.

GPipe (Huang et al. 2019, section 2.3) runs all forward passes, then all backward passes. 1F1B (Narayanan et
al. 2021, section 2.2: PipeDream-Flush) starts a backward pass as soon as there is one, so that a stage holds
the inputs of at most as many micro-batches as there are stages from it to the last. Both idle equally long,
(p − 1) / (m + p − 1) of a step of m micro-batches on p equal stages.

Both run backward passes from the first micro-batch to the last, so that gradients are summed in one order and
come out equal, bit for bit. (GPipe as published runs them from the last to the first, which takes as long.)
"""

from collections.abc import Sequence
from typing import NamedTuple

from errors import InputError

FORWARD, BACKWARD = "forward", "backward"


class Task(NamedTuple):
    """A pass of one micro-batch through a stage. kind: FORWARD or BACKWARD. micro_batch: 0 … m − 1."""

    kind: str
    micro_batch: int


# For every stage, first to last, its tasks in the order in which it works on them.
Schedule = Sequence[Sequence[Task]]


class Span(NamedTuple):
    """When a stage works on a task, in the unit of the durations."""

    stage: int
    task: Task
    start: float
    end: float


def gpipe(stages: int, micro_batches: int) -> Schedule:
    """All forward passes, then all backward passes."""
    return [_alternating(micro_batches, ahead=micro_batches) for _ in range(stages)]


def one_forward_one_backward(stages: int, micro_batches: int) -> Schedule:
    """Stage s runs p − s forward passes ahead, then a backward and a forward pass in turns."""
    return [_alternating(micro_batches, ahead=stages - stage) for stage in range(stages)]


SCHEDULES = {"gpipe": gpipe, "1f1b": one_forward_one_backward}


def schedule(name: str, stages: int, micro_batches: int) -> Schedule:
    """The schedule of that name, a key of `SCHEDULES`.

    Raises:
        InputError: no such schedule, no stage or no micro-batch.
    """
    if name not in SCHEDULES:
        raise InputError(f"There is no schedule {name!r}; choose one of {', '.join(SCHEDULES)}.")
    if stages < 1 or micro_batches < 1:
        raise InputError(
            f"A pipeline needs at least one stage and one micro-batch; there are {stages} stages and "
            f"{micro_batches} micro-batches."
        )
    return SCHEDULES[name](stages, micro_batches)


def simulate(schedule: Schedule, forward: Sequence[float], backward: Sequence[float]) -> list[Span]:
    """Runs the schedule against a clock: a task starts when its stage is free and what it needs is done.

    A forward pass needs that of the stage before; a backward pass needs the stage's own forward pass and the
    backward pass of the stage after. Transfers take no time.

    Args:
        forward, backward: the duration of a task of every stage.

    Returns:
        Every task, by start, and by stage where starts are equal.

    Raises:
        ValueError: stages wait for one another for ever.
    """
    waiting = [list(reversed(tasks)) for tasks in schedule]
    free = [0.0] * len(schedule)
    done: dict[tuple[int, Task], float] = {}
    spans = []
    while any(waiting):
        before = len(spans)
        for stage, tasks in enumerate(waiting):
            while tasks and all(need in done for need in _needs(stage, tasks[-1], len(schedule))):
                task = tasks.pop()
                needs = (done[need] for need in _needs(stage, task, len(schedule)))
                start = max(free[stage], *needs, 0.0)
                free[stage] = start + (forward if task.kind == FORWARD else backward)[stage]
                done[stage, task] = free[stage]
                spans.append(Span(stage, task, start, free[stage]))
        if len(spans) == before:
            stuck = {stage: tasks[-1] for stage, tasks in enumerate(waiting) if tasks}
            raise ValueError(f"The schedule stands still: no stage can start its next task, {stuck}.")
    return sorted(spans, key=lambda span: (span.start, span.stage))


def dispatch_order(schedule: Schedule) -> list[tuple[int, Task]]:
    """(stage, task) in the one order in which a single client enqueues them: as they would start if every
    task took equally long.
    """
    ones = [1.0] * len(schedule)
    return [(span.stage, span.task) for span in simulate(schedule, ones, ones)]


def idle_share(spans: Sequence[Span], stages: int) -> float:
    """The share of stages × time, from the first start to the last end, in which no stage works."""
    length = max(span.end for span in spans) - min(span.start for span in spans)
    return 1 - sum(span.end - span.start for span in spans) / (stages * length)


def bubble(stages: int, micro_batches: int) -> float:
    """(p − 1) / (m + p − 1): the idle share of both schedules where all stages take equally long."""
    return (stages - 1) / (micro_batches + stages - 1)


def live_inputs(tasks: Sequence[Task]) -> list[int]:
    """How many micro-batches a stage holds the input of after the start of each of its tasks.

    An input arrives with the forward pass and is needed until the end of the backward pass.
    """
    live, counts = 0, []
    for task in tasks:
        live += task.kind == FORWARD
        counts.append(live)
        live -= task.kind == BACKWARD
    return counts


def _alternating(micro_batches: int, ahead: int) -> list[Task]:
    """`ahead` forward passes (or all), then a backward and a forward pass in turns while there are both."""
    ahead = min(ahead, micro_batches)
    tasks = [Task(FORWARD, k) for k in range(ahead)]
    for k in range(micro_batches):
        tasks.append(Task(BACKWARD, k))
        if ahead + k < micro_batches:
            tasks.append(Task(FORWARD, ahead + k))
    return tasks


def _needs(stage: int, task: Task, stages: int) -> list[tuple[int, Task]]:
    """The (stage, task) that must be done before."""
    if task.kind == FORWARD:
        return [(stage - 1, task)] if stage else []
    own = [(stage, Task(FORWARD, task.micro_batch))]
    return own + ([(stage + 1, task)] if stage + 1 < stages else [])
