"""The strategy `pmap`: data parallelism as in Gopher's code base (Rae et al. 2021, section 3.3), a copy of
everything on every device and one `psum` over all of them.
"""

import dataclasses

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from errors import InputError
from parallelism.interface import Objective, Optimiser, Parallelism, Strategy, gradient_sums, updated
from parallelism.mesh import global_batch_size, of_shards, require_divisible
from parallelism.rules import PARAMETER_PLACEMENT
from parallelism.strategies.spmd import added_over, spmd

AXIS = "devices"
REPLICATED = dict.fromkeys(PARAMETER_PLACEMENT)


def pmap(
    objective: Objective,
    optimiser: Optimiser,
    mesh: Mesh,
    how: Parallelism = Parallelism(strategy="pmap"),  # noqa: B008 (frozen)
) -> Strategy:
    """Makes the strategy over the mesh's devices, pod × data of them.

    Every device keeps the parameters and the optimiser's state whole and makes the whole update, so
    `how.zero` has nothing to partition and is not read. Evaluation is one program over the whole mesh.

    Raises:
      InputError: the mesh has a model axis; pmap within pmap, which that would take, JAX no longer has.
    """
    if mesh.shape["model"] > 1:
        raise InputError(
            f"The strategy pmap is data parallel alone, but the mesh splits the model {mesh.shape['model']} "
            "ways. Give --mesh 1 along model, or choose --strategy mesh."
        )
    whole_mesh = spmd(objective, optimiser, mesh, how, REPLICATED)
    everywhere = NamedSharding(mesh, PartitionSpec())
    apart = NamedSharding(Mesh(mesh.local_mesh.devices.reshape(-1), [AXIS]), PartitionSpec(AXIS))

    def of_device(state, batch):
        sums = added_over(lambda *inputs: gradient_sums(objective.loss, *inputs), state.params, batch)
        return updated(optimiser, state, *jax.lax.psum(sums, AXIS))

    pmapped = jax.pmap(
        of_device, AXIS, in_axes=(None, 0), out_axes=None, devices=mesh.devices.flat, donate_argnums=0
    )

    def step(state, batch):
        require_divisible(mesh, global_batch_size(mesh, batch), how.micro_batches)
        shape = (mesh.local_mesh.size, how.micro_batches, -1)
        rows = jax.tree.map(lambda x: np.asarray(x).reshape(*shape, *x.shape[1:]), batch)
        rows = jax.device_put(rows, apart)
        # pmap lays what it returns out over an axis of its own; the buffers are the same.
        state, report = pmapped(state, rows)
        state = jax.tree.map(lambda like, x: of_shards(like.sharding, x.shape, [x]), whole_mesh.like, state)
        return state, {name: of_shards(everywhere, (), [x]) for name, x in report.items()}

    return dataclasses.replace(whole_mesh, step=step, lower=None)
