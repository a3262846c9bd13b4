"""The one table that says where parameters and activations live on the mesh.

A parameter's path names its logical axes; two short maps take logical axes to mesh axes. Inside a pod
parameters are fully
sharded: over `model` along heads, feed-forward width and vocabulary, over `data` along d_model (PaLM section
4's layout). Pods hold a copy each. Optimiser state mirrors the parameters' paths and follows the same rules.
"""

import re
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from errors import InputError
from models.layers.axes import BATCH, EMBED, HEADS, LENGTH, MLP, VOCAB

# (pattern over the parameter's path, logical axes of its last dimensions); the first match wins. Leading axes
# that are not named here, such as depth, are not sharded.
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
PARAMETER_PLACEMENT = {EMBED: "data", HEADS: "model", MLP: "model", VOCAB: "model"}
ACTIVATION_PLACEMENT = {
    BATCH: ("pod", "data"), LENGTH: None, EMBED: None, HEADS: "model", MLP: "model", VOCAB: "model",
}  # fmt: skip


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """How every array of a batch is laid out: its first axis over pod × data."""
    return NamedSharding(mesh, PartitionSpec(ACTIVATION_PLACEMENT[BATCH]))


def place_activation(mesh: Mesh):
    """The `Place` for `models.layers.axes.placed_by`: (logical names, shape) -> sharding."""

    def place(names, shape):
        return _sharding(mesh, "an activation", names, ACTIVATION_PLACEMENT, shape)

    return place


def state_shardings(state: Any, mesh: Mesh) -> Any:
    """Shardings of a tree of parameters, or of a training state that mirrors them; scalars are replicated.

    Raises:
      ValueError: no rule matches a leaf.
      InputError: a mesh axis does not divide the dimension laid along it.
    """

    def leaf(path, shape):
        if shape.ndim == 0:
            return NamedSharding(mesh, PartitionSpec())
        return _parameter_sharding(jax.tree_util.keystr(path, simple=True, separator="/"), shape.shape, mesh)

    return jax.tree_util.tree_map_with_path(leaf, state)


def _parameter_sharding(path: str, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    for pattern, names in PARAMETERS:
        if re.search(pattern, path):
            stacked = (None,) * (len(shape) - len(names))
            return _sharding(mesh, path, stacked + names, PARAMETER_PLACEMENT, shape)
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
