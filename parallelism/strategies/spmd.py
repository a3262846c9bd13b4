"""The strategy `mesh`: one jitted program over pod × data × model, the compiler inserts the collectives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from models.layers.axes import placed_by
from parallelism.interface import (
    Objective,
    Optimiser,
    Parallelism,
    Strategy,
    TrainState,
    gradient_sums,
    updated,
)
from parallelism.mesh import batch_ways, global_batch_size, require_divisible
from parallelism.rules import (
    PARAMETER_PLACEMENT,
    batch_sharding,
    global_batch,
    place_activation,
    process_rows,
    replicated_over_data,
    state_shardings,
)


def spmd(
    objective: Objective,
    optimiser: Optimiser,
    mesh: Mesh,
    how: Parallelism = Parallelism(),  # noqa: B008 (frozen)
    placement: dict[str, str | None] = PARAMETER_PLACEMENT,
) -> Strategy:
    """Makes the strategy.

    Args:
      placement: from logical to mesh axes; of parameters, and of the optimiser state that mirrors them.
    """

    def init(key):
        return TrainState(jnp.zeros((), jnp.int32), *optimiser.init(objective.init(key)))

    # Of the model apart: every strategy of one model finds what the first one traced.
    params = jax.eval_shape(objective.init, jax.random.key(0))
    shapes = TrainState(jax.ShapeDtypeStruct((), jnp.int32), *jax.eval_shape(optimiser.init, params))
    kept = placement if how.zero == 3 else replicated_over_data(placement)
    place = place_activation(mesh, kept)
    shardings = state_shardings(shapes, mesh, placement)
    shardings = shardings._replace(params=state_shardings(shapes.params, mesh, kept))
    partitioned = state_shardings(shapes.params, mesh, placement)
    like = jax.tree.map(
        lambda shape, sharding: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding),
        shapes,
        shardings,
    )

    def gradients_of(params, batch):
        gradients, value = gradient_sums(objective.loss, params, batch)
        return jax.lax.with_sharding_constraint(gradients, partitioned), value

    def step(state, batch):
        with placed_by(place):
            sums = added_over(gradients_of, state.params, micro_batches(batch, mesh, how.micro_batches))
            # Under ZeRO stage 1 every device updates its share of the parameters, and then all are gathered.
            state = state._replace(params=jax.lax.with_sharding_constraint(state.params, partitioned))
            return updated(optimiser, state, *sums)

    def evaluate(params, batch):
        with placed_by(place):
            return objective.metric(params, batch)

    jitted_step = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))
    jitted_evaluate = jax.jit(evaluate, out_shardings=NamedSharding(mesh, PartitionSpec()))

    def on_mesh(batch, micro_batches):
        require_divisible(mesh, global_batch_size(mesh, batch), micro_batches)
        return global_batch(batch_sharding(mesh), batch)

    def lower(batch):
        laid_out = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=batch_sharding(mesh)), batch
        )
        return jitted_step.lower(like, laid_out)

    return Strategy(
        init=jax.jit(init, out_shardings=shardings),
        like=like,
        step=lambda state, batch: jitted_step(state, on_mesh(batch, how.micro_batches)),
        evaluate=lambda params, batch: jitted_evaluate(params, on_mesh(batch, 1)),
        rows=lambda batch_size: process_rows(batch_sharding(mesh), batch_size),
        lower=lower,
    )


def micro_batches(batch: Any, mesh: Mesh, count: int) -> Any:
    """Arrays [B, ...] -> [count, B / count, ...]; every device cuts up its own rows."""
    ways = batch_ways(mesh)
    sharding = NamedSharding(mesh, PartitionSpec(None, *batch_sharding(mesh).spec))

    def cut(x):
        rows = x.reshape(ways, count, -1, *x.shape[1:]).swapaxes(0, 1).reshape(count, -1, *x.shape[1:])
        return jax.lax.with_sharding_constraint(rows, sharding)

    return jax.tree.map(cut, batch)


def added_over(gradients_of: Callable[[Any, Any], Any], params: Any, batches: Any) -> Any:
    """Σ of gradients_of(params, batch) over the first axis of `batches`, one after another: only one batch's
    activations are alive.
    """
    first = jax.tree.map(lambda x: x[0], batches)
    if jax.tree.leaves(batches)[0].shape[0] == 1:
        return gradients_of(params, first)

    def add(sums, batch):
        return jax.tree.map(jnp.add, sums, gradients_of(params, batch)), None

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(gradients_of, params, first))
    return jax.lax.scan(add, zeros, batches)[0]
