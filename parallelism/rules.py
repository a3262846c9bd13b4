"""The one table that says where parameters and activations live on the mesh.

A parameter's path names its logical axes; two short maps take logical axes to mesh axes. Inside a pod
parameters are fully sharded: over `model` along heads, feed-forward width and vocabulary, over `data` along
d_model (PaLM section 4's layout). Pods hold a copy each. Optimiser state mirrors the parameters' paths and
follows the same rules.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from errors import InputError
from models.layers.axes import BATCH, EMBED, HEADS, LENGTH, MLP, RESIDUAL, STREAM, VOCAB, Place

# (pattern over the parameter's path, logical axes of its last dimensions); the first match wins. An axis
# before those is depth.
PARAMETERS = (
    (r"norm/(centred/)?scale$", (None,)),
    (r"embedding/(table|output)$", (VOCAB, EMBED)),
    (r"embedding/positions$", (None, EMBED)),
    (r"multi_query_attention/(key|value)/w$", (EMBED, None)),  # one head: nothing to split
    (r"(query|key|value|relative)/w$", (EMBED, HEADS)),
    (r"attention/[uv]$", (HEADS, None)),
    (r"projection/w$", (EMBED, None)),
    (r"output/w$", (HEADS, EMBED)),
    (r"(gate|up)/w$", (EMBED, MLP)),
    (r"down/w$", (MLP, EMBED)),
)
DEPTH = "depth"
PARAMETER_PLACEMENT = {DEPTH: None, EMBED: "data", HEADS: "model", MLP: "model", VOCAB: "model"}
ACTIVATION_PLACEMENT = {
    BATCH: ("pod", "data"), LENGTH: None, EMBED: None, RESIDUAL: "model", HEADS: "model", MLP: "model",
    VOCAB: "model",
}  # fmt: skip


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """How every array of a batch is laid out: its first axis over pod × data."""
    return NamedSharding(mesh, PartitionSpec(ACTIVATION_PLACEMENT[BATCH]))


def stream_sharding(mesh: Mesh) -> NamedSharding:
    """How an activation [B, T, D] lies between operators, and on its way from stage to stage: no device has
    what another has (the scatter/gather optimisation of Narayanan et al. 2021, section 4.1).
    """
    return NamedSharding(mesh, _activation_spec(mesh, STREAM))


def process_rows(sharding: NamedSharding, batch_size: int) -> np.ndarray:
    """The rows of a batch of `batch_size` that lie on this process's devices."""
    slices = sharding.addressable_devices_indices_map((batch_size,)).values()
    return np.unique(np.concatenate([np.arange(batch_size)[rows] for (rows,) in slices]))


def global_batch(sharding: NamedSharding, batch: Any) -> Any:
    """Arrays over all processes' devices from the rows, `process_rows`, that each has. The transfer is asked
    for, which JAX, where a caller forbids implicit ones, does not see.
    """
    with jax.transfer_guard("allow"):
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch)


def replicated_over_data(placement: dict[str, str | None]) -> dict[str, str | None]:
    """`placement` with a copy on every device along data: parameters under ZeRO stage 1."""
    return {name: None if axis == "data" else axis for name, axis in placement.items()}


def place_activation(mesh: Mesh, placement: Mapping[str, str | None] = PARAMETER_PLACEMENT) -> Place | None:
    """How operators run on `mesh`, for `models.layers.axes.placed_by`; None on a single device.

    An operator gathers the parameters that it uses along `data`, in the precision that it computes in, and
    its backward pass scatters their gradients along it again, and sums them over `pod`.

    Args:
      placement: where the parameters lie, from logical to mesh axes.
    """
    if mesh.size == 1:
        return None

    def run(function, params, arrays, inputs, output):
        shardings = state_shardings(params, mesh, placement)
        specs = jax.tree.map(lambda sharding: sharding.spec, shardings)

        def local(params, *arrays):
            return function(jax.tree.map(_gathered_over_data, params, specs), *arrays)

        layouts = [
            _activation_spec(mesh, names, x.shape) for names, x in zip(inputs, map(jnp.asarray, arrays))
        ]
        return jax.shard_map(
            local,
            mesh=mesh,
            in_specs=(specs, *layouts),
            out_specs=_activation_spec(mesh, output),
            check_vma=False,
        )(params, *arrays)

    def share(size, name):
        return size // _divided(mesh, "the model", name, ACTIVATION_PLACEMENT[name], size)

    def index(name):
        return jax.lax.axis_index(ACTIVATION_PLACEMENT[name])

    axis = ACTIVATION_PLACEMENT[RESIDUAL]
    if mesh.shape[axis] == 1:
        return Place(run, share, index, lambda x: x, lambda x: x)
    return Place(
        run,
        share,
        index,
        gather=lambda x: jax.lax.all_gather(x, axis, axis=x.ndim - 1, tiled=True),
        scatter=lambda x: jax.lax.psum_scatter(x, axis, scatter_dimension=x.ndim - 1, tiled=True),
    )


def _activation_spec(mesh, names, shape=None):
    return _sharding(mesh, "an activation", names, ACTIVATION_PLACEMENT, shape).spec


def _gathered_over_data(parameter, spec):
    for dimension, axis in enumerate(spec):
        if axis == "data":
            return jax.lax.all_gather(parameter, axis, axis=dimension, tiled=True)
    return parameter


def state_shardings(state: Any, mesh: Mesh, placement: dict[str, str | None] = PARAMETER_PLACEMENT) -> Any:
    """Shardings of a tree of parameters, or of a training state that mirrors them; scalars are replicated.

    Args:
      placement: from logical axes to mesh axes.

    Raises:
      ValueError: no rule matches a leaf.
      InputError: a mesh axis does not divide the dimension laid along it.
    """

    def leaf(path, shape):
        if shape.ndim == 0:
            return NamedSharding(mesh, PartitionSpec())
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return _parameter_sharding(name, shape.shape, mesh, placement)

    return jax.tree_util.tree_map_with_path(leaf, state)


def _parameter_sharding(path: str, shape: tuple, mesh: Mesh, placement: Mapping) -> NamedSharding:
    for pattern, names in PARAMETERS:
        if re.search(pattern, path):
            stacked = (DEPTH,) * (len(shape) - len(names))
            return _sharding(mesh, path, stacked + names, placement, shape)
    raise ValueError(
        f"No rule in parallelism/rules.py says where the parameter {path} {shape} lives; add one to "
        "PARAMETERS."
    )


def _sharding(mesh, what, names, placement, shape=None):
    axes = [name and placement[name] for name in names]
    for name, axis, size in zip(names, axes, shape or ()):
        _divided(mesh, what, name, axis, size)
    return NamedSharding(mesh, PartitionSpec(*axes))


def _divided(mesh: Mesh, what: str, name: str, axis: Any, size: int) -> int:
    """How many ways `axis` splits `size`."""
    ways = math.prod(mesh.shape[part] for part in ((axis,) if isinstance(axis, str) else axis or ()))
    if size % ways:
        raise InputError(
            f"The mesh splits {name!r} {ways} ways over {axis}, but {what} has {size} of it, which "
            f"{ways} does not divide. Choose a mesh whose {axis} divides {size}, or another model size."
        )
    return ways
