"""The strategy `pipeline`: stages of layers along the mesh's first axis, each with a data × model mesh of its
own (3D parallelism: Narayanan et al. 2021, section 2).

The state is the same tree as everywhere, with depth laid along `pod`, and embedding and final norm copied to
every stage; a stage computes on the shards that its devices hold, without a copy. One Python client enqueues
all passes in the order of the schedule and waits for none: stages wait for one another on the devices. Of a
micro-batch a stage keeps its input alone, and computes the rest again in its backward pass (GPipe: Huang et
al. 2019, section 2.3). What a stage sends stays with it until the receiver's turn comes. One program over the
whole mesh makes the update.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from errors import InputError
from models.layers.axes import placed_by
from parallelism.interface import Objective, Optimiser, Parallelism, Part, Strategy, float32, updated
from parallelism.mesh import AXES, of_shards
from parallelism.rules import (
    DEPTH,
    PARAMETER_PLACEMENT,
    batch_sharding,
    place_activation,
    replicated_over_data,
    state_shardings,
    stream_sharding,
)
from parallelism.strategies.schedules import BACKWARD, FORWARD, Task, dispatch_order, schedule
from parallelism.strategies.spmd import spmd

PLACEMENT = PARAMETER_PLACEMENT | {DEPTH: "pod"}


class Event(NamedTuple):
    """A program that has just been enqueued: a stage's task, or, where both are None, the update.

    program, arguments: a jitted function and what it was called with, which may be used up. output: what it
    returns. inputs: what the stage holds for backward passes that are to come or just begun, by micro-batch:
    (carry, rows of the batch). received: what another stage sent for the task, None where none did.
    """

    stage: int | None
    task: Task | None
    program: Callable[..., Any]
    arguments: tuple
    output: Any
    inputs: Mapping[int, Any] = {}
    received: Any = None


def pipeline(
    objective: Objective,
    optimiser: Optimiser,
    mesh: Mesh,
    how: Parallelism = Parallelism(strategy="pipeline"),  # noqa: B008 (frozen)
    observe: Callable[[Event], None] = lambda event: None,
) -> Strategy:
    """Makes the strategy: mesh.shape["pod"] stages and `how.micro_batches`, in the order of `how.schedule`.

    Evaluation is one program over the whole mesh.

    Args:
      observe: called after every program of a step.

    Raises:
      InputError: the model cannot be cut into that many equal stages, or there are several processes.
    """
    if jax.process_count() > 1:
        raise InputError(
            f"A pipeline is run by one process, but there are {jax.process_count()}. Choose another "
            "--strategy, or start one process alone."
        )
    params = jax.eval_shape(objective.init, jax.random.key(0))
    stages = _stages(objective, mesh, how.zero)
    whole_mesh = spmd(objective, optimiser, mesh, how, PLACEMENT)
    order = dispatch_order(schedule(how.schedule, len(stages), how.micro_batches))
    summed = state_shardings(params, mesh, PLACEMENT)
    everywhere = NamedSharding(mesh, PartitionSpec())

    def step(state, batch):
        batches = _cut(batch, how.micro_batches, mesh.shape["data"])
        sums, values = _run(stages, order, jax.tree.leaves(state.params), batches, observe)
        gradients = [_joined(arrays, mesh) for arrays in zip(*sums)]
        arguments = state, gradients, jax.device_put(values, everywhere)
        stepped = jitted_update(*arguments)
        observe(Event(None, None, jitted_update, arguments, stepped))
        return stepped

    def update(state, gradients, values):
        leaves, tree = jax.tree.flatten(params)
        # Where every stage has a copy, each has a gradient: the tied embedding's is that of both ends.
        gradients = [g if g.ndim == leaf.ndim else jnp.sum(g, axis=0) for g, leaf in zip(gradients, leaves)]
        state = state._replace(params=jax.lax.with_sharding_constraint(state.params, summed))
        value = functools.reduce(lambda a, b: jax.tree.map(jnp.add, a, b), values)
        return updated(optimiser, state, tree.unflatten(gradients), value)

    shardings = jax.tree.map(lambda leaf: leaf.sharding, whole_mesh.like)
    jitted_update = jax.jit(update, donate_argnums=(0, 1), out_shardings=(shardings, None))
    return dataclasses.replace(whole_mesh, step=step, rows=np.arange, lower=None)


class _Stage(NamedTuple):
    """A part of the model on a mesh of its own, pod 1 × data × model.

    reads: which of the parameters' leaves, by number. rows, stream: how the batch, and how activations and
    their gradients lie.
    zeros: () -> sums of the gradients of all leaves, [1, ...] for those that every stage has a copy of.
    forward: (leaves, carry, batch) -> carry; the last stage's, what a loss returns.
    backward: (sums, leaves, carry, batch, gradient of what forward returns) -> (sums, gradient of the carry).
    The sums and the carry given are used up.
    """

    mesh: Mesh
    reads: Sequence[int]
    rows: NamedSharding
    stream: NamedSharding
    zeros: Callable[[], list[jax.Array]]
    forward: Callable[..., Any]
    backward: Callable[..., tuple[list[jax.Array], Any]]


@functools.cache  # both schedules run the same programs: whoever compares them compiles once
def _stages(objective: Objective, mesh: Mesh, zero: int) -> list[_Stage]:
    params, count = jax.eval_shape(objective.init, jax.random.key(0)), mesh.shape["pod"]
    meshes = [Mesh(mesh.devices[n : n + 1], AXES, axis_types=mesh.axis_types) for n in range(count)]
    kept = PLACEMENT if zero == 3 else replicated_over_data(PLACEMENT)
    return [_stage(part, params, n, count, meshes[n], kept) for n, part in enumerate(objective.parts(count))]


def _stage(
    part: Part, params: Any, number: int, count: int, mesh: Mesh, kept: Mapping[str, str | None]
) -> _Stage:
    last = number == count - 1
    specs = [sharding.spec for sharding in jax.tree.leaves(state_shardings(params, mesh, PLACEMENT))]
    reads, taken = _reads(part, params, specs, number, count)
    place, stream = place_activation(mesh, kept), stream_sharding(mesh)
    summed = [
        NamedSharding(mesh, spec if _has_depth(spec) else PartitionSpec("pod", *spec)) for spec in specs
    ]

    def zeros():
        shapes = [leaf.shape for leaf in jax.tree.leaves(params)]
        return [
            jnp.zeros((shape[0] // count, *shape[1:]) if _has_depth(spec) else (1, *shape))
            for shape, spec in zip(shapes, specs)
        ]

    def forward(leaves, carry, batch):
        with placed_by(place):
            return part.apply(taken.unflatten(leaves), carry, batch)

    def backward(sums, leaves, carry, batch, gradient):
        def descended(leaves, carry):
            output = forward(leaves, carry, batch)
            return output[0] if last else output

        value, pull = jax.vjp(descended, leaves, carry)
        gradients, gradient = pull(jnp.ones_like(value) if last else gradient)
        return [a + b.reshape(a.shape) for a, b in zip(sums, float32(gradients))], gradient

    return _Stage(
        mesh,
        reads,
        batch_sharding(mesh),
        stream,
        zeros=jax.jit(zeros, out_shardings=summed),
        forward=jax.jit(forward, out_shardings=None if last else stream),
        backward=jax.jit(
            backward, donate_argnums=(0, 2), out_shardings=([summed[leaf] for leaf in reads], stream)
        ),
    )


def _reads(
    part: Part, params: Any, specs: Sequence[PartitionSpec], number: int, count: int
) -> tuple[list[int], Any]:
    """The leaves of the parameters that stage `number` of `count` reads, and the tree that it has them in.

    Raises:
      InputError: the stage reads other layers than its equal share.
    """
    # A part tells what it takes by taking from arrays whose rows are (number of the leaf, number of the row).
    paths, leaves = zip(*jax.tree.leaves_with_path(params))
    sizes = [leaf.shape[0] for leaf in leaves]
    numbered = [np.stack([np.full(size, leaf), np.arange(size)], axis=1) for leaf, size in enumerate(sizes)]
    arrays, taken = jax.tree.flatten(part.take(jax.tree.structure(params).unflatten(numbered)))
    rows = {int(array[0, 0]): array[:, 1] for array in arrays if len(array)}
    for leaf, (path, size) in enumerate(zip(paths, sizes)):
        read = rows.get(leaf, np.arange(0))
        share = np.arange(size) // (size / count) == number
        if _has_depth(specs[leaf]) and (size % count or not np.array_equal(read, np.flatnonzero(share))):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise InputError(
                f"A pipeline of {count} stages needs a model that can be cut into {count} equal parts, but "
                f"stage {number} of this one would read {len(read)} of the {size} layers of {name}. Give "
                "--mesh a number of pods that divides the layers of a dense model (palm, gopher), or choose "
                "another --strategy: in RETRO some layers alone read neighbours."
            )
    return list(rows), taken


def _cut(batch: Any, micro_batches: int, data: int) -> list[Any]:
    """The batch's rows, in micro-batches.

    Raises:
      InputError: micro_batches × data does not divide them.
    """
    size = jax.tree.leaves(batch)[0].shape[0]
    if size % (micro_batches * data):
        raise InputError(
            f"A pipeline cuts a batch into {micro_batches} micro-batches and each of them {data} ways "
            f"(data), which does not divide its {size} sequences. Give --batch-size a multiple of "
            f"{micro_batches * data}, or another --micro-batches."
        )
    bounds = np.linspace(0, size, micro_batches + 1, dtype=int)
    return [_rows(batch, *ends) for ends in zip(bounds, bounds[1:])]


def _rows(batch, start, stop):
    return jax.tree.map(lambda x: x[start:stop], batch)


def _run(
    stages: Sequence[_Stage],
    order: Sequence[tuple[int, Task]],
    leaves: Sequence[jax.Array],
    batches: Sequence[Any],
    observe: Callable[[Event], None],
) -> tuple[list[list[jax.Array]], list[Any]]:
    """Enqueues all tasks of a step.

    Returns:
      The sums of the gradients by stage and leaf; by micro-batch, what the loss returns.
    """
    views = [[view_on(leaves[leaf], stage.mesh) for leaf in stage.reads] for stage in stages]
    sums = [stage.zeros() for stage in stages]
    inputs: list[dict[int, Any]] = [{} for _ in stages]
    sent: dict[tuple[int, Task], Any] = {}
    for number, task in order:
        stage, view, held, micro_batch = stages[number], views[number], inputs[number], task.micro_batch
        sender = number - 1 if task.kind == FORWARD else number + 1
        received = jax.device_put(sent.pop((sender, task), None), stage.stream)
        if task.kind == FORWARD:
            held[micro_batch] = received, jax.device_put(batches[micro_batch], stage.rows)
            program, arguments = stage.forward, (view, *held[micro_batch])
            output = sent[number, task] = program(*arguments)
        else:
            read = [sums[number][leaf] for leaf in stage.reads]
            program, arguments = stage.backward, (read, view, *held[micro_batch], received)
            output = read, sent[number, task] = program(*arguments)
            for leaf, total in zip(stage.reads, read):
                sums[number][leaf] = total
        observe(Event(number, task, program, arguments, output, held, received))
        if task.kind == BACKWARD:
            del held[micro_batch]
    return sums, [sent[len(stages) - 1, Task(FORWARD, k)] for k in range(len(batches))]


def _has_depth(spec: PartitionSpec) -> bool:
    return len(spec) > 0 and spec[0] == "pod"


def view_on(array: jax.Array, mesh: Mesh) -> jax.Array:
    """What of `array` lies on the devices of the stage `mesh`: the same memory."""
    spec, shape = array.sharding.spec, array.shape
    if _has_depth(spec):
        shape = (shape[0] // array.sharding.mesh.shape["pod"], *shape[1:])
    return of_shards(NamedSharding(mesh, spec), shape, [array])


def _joined(arrays: Sequence[jax.Array], mesh: Mesh) -> jax.Array:
    """The stages' arrays, one after another along the first axis, over `mesh`: the same memory."""
    shape = (sum(array.shape[0] for array in arrays), *arrays[0].shape[1:])
    return of_shards(NamedSharding(mesh, arrays[0].sharding.spec), shape, arrays)
