"""Training states to begin from where it does not matter how a model begins."""

import jax
import jax.numpy as jnp

from parallelism.interface import TrainState
from tests.models.small import initialised


def drawn_state(config, optimiser):
    """A state whose parameters numpy draws, on no device: the program of `init` takes longest to compile."""
    _, params = initialised(config)
    return jax.device_get(TrainState(jnp.zeros((), jnp.int32), *jax.jit(optimiser.init)(params)))


def laid_out(state, strategy):
    """It, where the strategy has it."""
    return jax.device_put(state, jax.tree.map(lambda leaf: leaf.sharding, strategy.like))
