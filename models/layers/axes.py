"""Logical axis names, and the constraint that ties an activation to them.

Models say *what* an axis is; `parallelism.rules` says *where* it lives. Outside `placed_by`, a constraint
does nothing, so that a model runs on a laptop without knowing that meshes exist.
"""

from collections.abc import Callable
from contextlib import contextmanager
from contextvars import ContextVar

import jax

BATCH = "batch"
LENGTH = "length"
EMBED = "embed"
HEADS = "heads"
MLP = "mlp"
VOCAB = "vocab"

Place = Callable[[tuple[str | None, ...], tuple[int, ...]], jax.sharding.Sharding]

_place: ContextVar[Place | None] = ContextVar("place", default=None)


@contextmanager
def placed_by(place: Place):
    """Within this context `constrain` lays activations out by place(names, shape)."""
    token = _place.set(place)
    try:
        yield
    finally:
        _place.reset(token)


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Asks the compiler to lay `x` out by its logical axes, a name (or None) each; does nothing without a
    mesh.
    """
    place = _place.get()
    return x if place is None else jax.lax.with_sharding_constraint(x, place(names, x.shape))
