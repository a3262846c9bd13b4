"""Logical axis names, and the constraint that ties an activation to them.

Models say *what* an axis is; `parallelism.rules` says *where* it lives. Outside `placed_by`, a constraint does nothing, so
that a model runs on a laptop without knowing that meshes exist.
"""

from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import jax
from jax.sharding import PartitionSpec

BATCH = "batch"
LENGTH = "length"
EMBED = "embed"
HEADS = "heads"
MLP = "mlp"
VOCAB = "vocab"

_placement: ContextVar[Mapping | None] = ContextVar("placement", default=None)


@contextmanager
def placed_by(placement: Mapping[str, str | tuple[str, ...] | None]):
    """Within this context `constrain` maps logical names to the mesh axes in `placement`."""
    token = _placement.set(placement)
    try:
        yield
    finally:
        _placement.reset(token)


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Asks the compiler to lay `x` out by its logical axes, one name (or None) per axis; the identity without a mesh."""
    placement = _placement.get()
    if placement is None:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*(name and placement[name] for name in names)))
