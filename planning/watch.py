"""What a pipeline does while it runs: how long its programs take, what its stages hold and what they send."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from parallelism.strategies.pipeline import Event

# A program of a pipeline: (stage, FORWARD or BACKWARD); the update of the whole mesh.
Key = tuple[int, str]
UPDATE: Key = (-1, "update")


class Watch:
    """An observer of parallelism.strategies.pipeline. While `step` runs it waits for every program before the
    next one is enqueued, so that each is alone on the machine when it is timed.

    seconds: durations by program. held: by stage, (micro-batches, bytes per device) of inputs at every task.
    received: by stage, bytes per device. programs: by program, (jitted function, shapes of its arguments).
    """

    def __init__(self) -> None:
        self.seconds: dict[Key, list[float]] = defaultdict(list)
        self.held: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self.received: dict[int, int] = defaultdict(int)
        self.programs: dict[Key, tuple[Any, Any]] = {}
        self._since: float | None = None

    def step(self, step: Callable, *arguments: Any) -> Any:
        """What step(*arguments) returns, watched."""
        jax.block_until_ready(arguments)
        self._since = time.perf_counter()
        result = step(*arguments)
        self._since = None
        return result

    def __call__(self, event: Event) -> None:
        if self._since is None:
            return
        jax.block_until_ready(event.output)
        key = UPDATE if event.task is None else (event.stage, event.task.kind)
        self.seconds[key].append(time.perf_counter() - self._since)
        self.programs.setdefault(key, (event.program, jax.tree.map(shape_of, event.arguments)))
        if event.task is not None:
            self.held[event.stage].append((len(event.inputs), device_bytes(event.inputs)))
            self.received[event.stage] += device_bytes(event.received)
        self._since = time.perf_counter()

    def compiled(self) -> dict[Key, jax.stages.Compiled]:
        """The programs as the compiler made them."""
        return {key: program.lower(*shapes).compile() for key, (program, shapes) in self.programs.items()}

    def runs_per_step(self) -> dict[Key, float]:
        """How often a step runs each program."""
        steps = len(self.seconds[UPDATE])
        return {key: len(seconds) / steps for key, seconds in self.seconds.items()}

    def most_held(self, stage: int) -> tuple[int, int]:
        """(micro-batches, bytes per device), the most that the stage held inputs of."""
        return tuple(map(max, zip(*self.held[stage])))


def duration(watches: Iterable[Watch], stage: int, kind: str) -> float:
    """Seconds of a task, the median over everyone who watched it."""
    return float(np.median([seconds for watch in watches for seconds in watch.seconds[stage, kind]]))


def device_bytes(tree: Any) -> int:
    """What a tree of arrays or shapes takes on each of its devices."""
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def shape_of(x: Any) -> jax.ShapeDtypeStruct:
    """What a program is compiled for; of an array that has been used up, too."""
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=getattr(x, "sharding", None))
