"""How pods give each other what each of them has, and add it up so that all come to the same bits.

One process copies from device to device. Between processes arrays travel by an all-gather over `pod`, since
JAX copies between them only where transfer servers are set up.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from parallelism.interface import float32
from parallelism.mesh import of_shards


def exchanged(trees: Sequence[Any], mesh: Mesh, pods: Sequence[Mesh]) -> list[list[Any]]:
    """What every pod has, given to every pod; nothing is waited for.

    Args:
      trees: of the pods that this process runs: arrays [1, ...] on the pod's mesh, the first axis over `pod`.
      mesh: of all pods. pods: the meshes of those that this process runs.

    Returns:
      By pod that this process runs, trees for `in_order`: in one process a tree of every pod's; otherwise one
      tree of arrays [pods, ...].
    """
    if jax.process_count() == 1:
        places = [jax.tree.map(lambda x: x.sharding, tree) for tree in trees]
        return [[jax.device_put(tree, here) for tree in trees] for here in places]
    apart = [
        of_shards(NamedSharding(mesh, xs[0].sharding.spec), (len(mesh.devices), *xs[0].shape[1:]), xs)
        for xs in zip(*map(jax.tree.leaves, trees))
    ]
    together = tuple(NamedSharding(mesh, PartitionSpec(None, *x.sharding.spec[1:])) for x in apart)
    gathered = _relaid(together)(apart)

    def view(pod):
        views = [of_shards(NamedSharding(pod, x.sharding.spec), x.shape, [x]) for x in gathered]
        return jax.tree.unflatten(jax.tree.structure(trees[0]), views)

    return [[view(pod)] for pod in pods]


def in_order(trees: Sequence[Any]) -> Any:
    """Σ over the rows of the trees' leaves [n, ...] in float32, one after another: the order of the pods.

    With its own first, every pod of three or more would come to a sum of its own.
    """

    def added(*arrays):
        return functools.reduce(jnp.add, (row for array in arrays for row in float32(list(array))))

    return jax.tree.map(added, *trees)


def rounded(tree: Any, dtype: str) -> Any:
    """The arrays in `dtype`, where they are."""
    leaves, structure = jax.tree.flatten(tree)
    if all(x.dtype == dtype for x in leaves):
        return tree
    return structure.unflatten(_relaid(tuple(x.sharding for x in leaves), dtype)(leaves))


@functools.cache
def _relaid(
    shardings: tuple[NamedSharding, ...], dtype: str | None = None
) -> Callable[[list[jax.Array]], list[jax.Array]]:
    """The program: arrays -> the same with these shardings, in `dtype`."""
    return jax.jit(lambda arrays: [x.astype(dtype or x.dtype) for x in arrays], out_shardings=list(shardings))
