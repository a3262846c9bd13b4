"""The one table that says where parameters and activations live on the mesh.

A parameter's path names its logical axes; two short maps take logical axes to mesh axes. Inside a pod
parameters are fully
sharded: over `model` along heads, feed-forward width and vocabulary, over `data` along d_model (PaLM section
4's layout). Pods hold a copy each. Optimiser state mirrors the parameters' paths and follows the same rules.
"""

import re
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from errors import InputError
from models.layers.axes import BATCH, EMBED, HEADS, LENGTH, MLP, VOCAB

# (pattern over the parameter's path, logical axes of its last dimensions); the first match wins. An axis
# before those is depth.
PARAMETERS = (
    (r"norm/(centred/)?scale$", (None,)),
    (r"embedding/table$", (VOCAB, EMBED)),
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
    BATCH: ("pod", "data"), LENGTH: None, EMBED: None, HEADS: "model", MLP: "model", VOCAB: "model",
}  # fmt: skip


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """How every array of a batch is laid out: its first axis over pod × data."""
    return NamedSharding(mesh, PartitionSpec(ACTIVATION_PLACEMENT[BATCH]))


def process_rows(sharding: NamedSharding, batch_size: int) -> np.ndarray:
    """The rows of a batch of `batch_size` that lie on this process's devices."""
    slices = sharding.addressable_devices_indices_map((batch_size,)).values()
    return np.unique(np.concatenate([np.arange(batch_size)[rows] for (rows,) in slices]))


def global_batch(sharding: NamedSharding, batch: Any) -> Any:
    """Arrays over all processes' devices from the rows, `process_rows`, that each has."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch)


def replicated_over_data(placement: dict[str, str | None]) -> dict[str, str | None]:
    """`placement` with a copy on every device along data: parameters under ZeRO stage 1."""
    return {name: None if axis == "data" else axis for name, axis in placement.items()}


def place_activation(mesh: Mesh):
    """The `Place` for `models.layers.axes.placed_by`: (logical names, shape) -> sharding."""

    def place(names, shape):
        return _sharding(mesh, "an activation", names, ACTIVATION_PLACEMENT, shape)

    return place


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


def _parameter_sharding(path, shape, mesh, placement) -> NamedSharding:
    for pattern, names in PARAMETERS:
        if re.search(pattern, path):
            stacked = (DEPTH,) * (len(shape) - len(names))
            return _sharding(mesh, path, stacked + names, placement, shape)
    raise ValueError(
        f"No rule in parallelism/rules.py says where the parameter {path} {shape} lives; add one to "
        "PARAMETERS."
    )


def _sharding(mesh, what, names, placement, shape):
    axes = [name and placement[name] for name in names]
    for name, axis, size in zip(names, axes, shape):
        ways = _ways(mesh, axis)
        if size % ways:
            raise InputError(
                f"The mesh splits {name!r} {ways} ways over {axis}, but {what} has {size} of it, which "
                f"{ways} does not divide. Choose a --mesh whose {axis} divides {size}, or another model size."
            )
    return NamedSharding(mesh, PartitionSpec(*axes))


def _ways(mesh, axis):
    ways = 1
    for name in (axis,) if isinstance(axis, str) else axis or ():
        ways *= mesh.shape[name]
    return ways
