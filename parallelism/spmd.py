"""The strategy `mesh`: one jitted program over pod × data × model, the compiler inserts the collectives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from models.layers.axes import placed_by
from parallelism.mesh import require_divisible
from parallelism.rules import batch_sharding, place_activation, state_shardings


class TrainState(NamedTuple):
    """What a step changes and a checkpoint holds. step: updates made so far, a scalar."""

    step: jax.Array
    params: Any
    optimiser: Any


class Optimiser(NamedTuple):
    """How gradients change parameters, and in what precision these are kept (`training.precision`).

    init: parameters as initialised, float32 -> (parameters as kept, optimiser state).
    update: (gradients float32, optimiser state, parameters as kept, step) -> (parameters, optimiser state).
    """

    init: Callable[[Any], tuple[Any, Any]]
    update: Callable[[Any, Any, Any, jax.Array], tuple[Any, Any]]


@dataclass(frozen=True)
class Strategy:
    """How a model is trained and evaluated, whatever lies beneath.

    init: key -> TrainState, laid out.
    like: TrainState of shapes with shardings, what a checkpoint is restored onto; nothing is allocated.
    step: (TrainState, batch) -> (TrainState, {"loss", "grad_norm", ...} scalars). The state given is used up.
    evaluate: (params, batch) -> what `metric` returns.
    """

    init: Callable[[jax.Array], TrainState]
    like: TrainState
    step: Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]
    evaluate: Callable[[Any, Any], Any]


def spmd(
    init_params: Callable[[jax.Array], Any],
    loss: Callable[[Any, Any], tuple[jax.Array, dict[str, jax.Array]]],
    metric: Callable[[Any, Any], Any],
    optimiser: Optimiser,
    mesh: Mesh,
) -> Strategy:
    """Makes the strategy.

    Args:
      init_params: key -> params.
      loss: (params, batch) -> (scalar to descend, scalars to report). batch: a tree of arrays [B, ...].
      metric: (params, batch) -> a tree of arrays, for evaluation.
    """
    place = place_activation(mesh)

    def init(key):
        return TrainState(jnp.zeros((), jnp.int32), *optimiser.init(init_params(key)))

    shapes = jax.eval_shape(init, jax.random.key(0))
    shardings = state_shardings(shapes, mesh)
    like = jax.tree.map(
        lambda shape, sharding: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding),
        shapes,
        shardings,
    )

    def step(state, batch):
        with placed_by(place):
            (value, report), gradients = jax.value_and_grad(loss, has_aux=True)(state.params, batch)
        gradients = jax.tree.map(lambda gradient: gradient.astype(jnp.float32), gradients)
        report = {"loss": value, "grad_norm": optax.global_norm(gradients), **report}
        kept = optimiser.update(gradients, state.optimiser, state.params, state.step)
        return TrainState(state.step + 1, *kept), report

    def evaluate(params, batch):
        with placed_by(place):
            return metric(params, batch)

    jitted_step = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))
    jitted_evaluate = jax.jit(evaluate)

    def laid_out(batch):
        require_divisible(mesh, jax.tree.leaves(batch)[0].shape[0])
        return jax.device_put(batch, batch_sharding(mesh))

    return Strategy(
        init=jax.jit(init, out_shardings=shardings),
        like=like,
        step=lambda state, batch: jitted_step(state, laid_out(batch)),
        evaluate=lambda params, batch: jitted_evaluate(params, laid_out(batch)),
    )
