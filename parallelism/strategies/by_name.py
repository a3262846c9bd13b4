"""The strategies by name. They are interchangeable: the same losses and parameters, up to rounding."""

from collections.abc import Callable, Mapping

from jax.sharding import Mesh

from parallelism.interface import Objective, Optimiser, Parallelism, Strategy
from parallelism.strategies.pipeline import pipeline
from parallelism.strategies.pmap import pmap
from parallelism.strategies.pods import pods
from parallelism.strategies.spmd import spmd

STRATEGIES: Mapping[str, Callable[[Objective, Optimiser, Mesh, Parallelism], Strategy]] = {
    "mesh": spmd,
    "pipeline": pipeline,
    "pmap": pmap,
    "pods": pods,
}


def strategy(objective: Objective, optimiser: Optimiser, mesh: Mesh, how: Parallelism) -> Strategy:
    """How `objective` is trained on `mesh` in the manner of `how`.

    Raises:
      InputError: the strategy cannot train this model, or not on this mesh.
    """
    return STRATEGIES[how.strategy](objective, optimiser, mesh, how)
