"""Logical axis names, and how an operator runs on one share of them.

Models say *what* an axis is; `parallelism.rules` says *where* it lives. On a mesh an operator runs on every
device with that device's share of heads, feed-forward width or vocabulary, and d_model passes between
operators in shares: `whole` gathers it before a norm, `added` sums the shares' products and hands every
device its slice. So a residual operator costs one gather and one sum-and-scatter each way (Korthikanti et al.
2022, who cut the length instead), and what is kept for the backward pass is a slice. Without a mesh a share
is everything, and these functions do nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

BATCH = "batch"
LENGTH = "length"
EMBED = "embed"  # d_model of a kernel, and of an activation that is whole
RESIDUAL = "residual"  # d_model between operators
HEADS = "heads"
MLP = "mlp"
VOCAB = "vocab"

Names = tuple[str | None, ...]
STREAM: Names = (BATCH, LENGTH, RESIDUAL)


class Place(NamedTuple):
    """How operators run on a mesh.

    run: (function, params, inputs, a Names per input, Names of the output) -> function(params, *inputs),
    every device with its shares.
    share: (size, name) -> how much of an axis of this size a device has. index: name -> which share, an int32
    scalar.
    gather, scatter: along RESIDUAL, the last axis: a slice -> whole; one term of a sum -> a slice of the sum.
    """

    run: Callable[[Callable, Any, tuple, tuple[Names, ...], Names], jax.Array]
    share: Callable[[int, str], int]
    index: Callable[[str], jax.Array]  # type: ignore[assignment]  # in the place of a tuple's own
    gather: Callable[[jax.Array], jax.Array]
    scatter: Callable[[jax.Array], jax.Array]


_place: ContextVar[Place | None] = ContextVar("place", default=None)
_inside: ContextVar[Place | None] = ContextVar("inside", default=None)


@contextmanager
def placed_by(place: Place | None) -> Iterator[None]:
    """Within this context operators run as `place` says; None is no mesh."""
    token = _place.set(place)
    try:
        yield
    finally:
        _place.reset(token)


def on_shares(function: Callable, inputs: tuple[Names, ...], output: Names) -> Callable:
    """function(params, *inputs), on a mesh with every device's shares."""

    def run(params, *arrays):
        place = _place.get()
        if place is None:
            return function(params, *arrays)
        return place.run(inside, params, arrays, inputs, output)

    def inside(*arguments):
        token = _inside.set(_place.get())
        try:
            return function(*arguments)
        finally:
            _inside.reset(token)

    return run


def share(size: int, name: str) -> int:
    """How much of an axis this device computes.

    Raises:
      InputError: the mesh does not divide it.
    """
    place = _inside.get()
    return size if place is None else place.share(size, name)


def first_of_share(size: int, name: str) -> int | jax.Array:
    """Where this device's share of an axis begins, given the size of a share."""
    place = _inside.get()
    return 0 if place is None else place.index(name) * size


def whole(x: jax.Array) -> jax.Array:
    """[..., a slice of D] -> [..., D]."""
    place = _inside.get()
    return x if place is None else place.gather(x)


def own_slice(x: jax.Array) -> jax.Array:
    """[..., D], the same on every device -> [..., a slice of D]."""
    size = share(x.shape[-1], RESIDUAL)
    return (
        x
        if size == x.shape[-1]
        else jax.lax.dynamic_slice_in_dim(x, first_of_share(size, RESIDUAL), size, -1)
    )


def summed(x: jax.Array) -> jax.Array:
    """[..., D], a term of a sum over devices -> [..., a slice of D] of the sum."""
    place = _inside.get()
    return x if place is None else place.scatter(x)


def added(x: jax.Array, *terms: jax.Array) -> jax.Array:
    """x + terms: x [..., a slice of D], and [..., D] whose sum over devices is meant."""
    if _inside.get() is None:
        return reduce(jnp.add, terms, x)
    return x + summed(reduce(jnp.add, terms))
