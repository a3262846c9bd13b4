"""Depth is a leading axis: the parameters of all layers of an operator lie in one array each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from models.decoder import REMATERIALISATION, Cache, Operator, Params, Residual


def init_stack(op: Operator, key: jax.Array, depth: int, *inputs: jax.Array) -> Params:
    """Parameters of `depth` independent layers, every leaf [depth, ...]."""
    return jax.vmap(lambda k: op.init(k, *inputs))(jax.random.split(key, depth))


def layer(stack: Params, index: int) -> Params:
    """The parameters of one layer of a stack."""
    return jax.tree.map(lambda leaf: leaf[index], stack)


def layers_of(stack: Params, start: int, stop: int) -> Params:
    """The parameters of layers start … stop − 1 of a stack."""
    return jax.tree.map(lambda leaf: leaf[start:stop], stack)


def in_spans(stack: Params, count: int) -> Params:
    """Leaves [L, ...] -> [count, L / count, ...]."""
    return jax.tree.map(lambda leaf: leaf.reshape(count, -1, *leaf.shape[1:]), stack)


# Stacking a loop's residuals costs a CPU a fifth of a tiny model's step; deep models keep the loop, and
# their compile time.
UNROLLED_DEPTH = 4


def rematerialised(body: Callable[..., Any], remat: str, looped: bool = False) -> Callable[..., Any]:
    """`body` whose backward pass stores what the policy `remat` names, and computes the rest again.

    looped: whether it is the body of a loop. Elsewhere the compiler would find what is computed again in the
    forward pass, and keep it until then, unless it is kept from looking.
    """
    policy = REMATERIALISATION[remat]
    return body if policy is None else jax.checkpoint(body, policy=policy, prevent_cse=not looped)


def scan_layers(
    body: Callable[[Params, Any], Any], stack: Params, x: Any, start: int, stop: int, remat: str
) -> Any:
    """Applies body(params of layer l, x) for l = start … stop − 1.

    Args:
      stack: tree with leaves [L, ...].
      x: an array, or a tree of them.
      remat: a name in REMATERIALISATION.
    """
    if start == stop:
        return x
    unroll = stop - start <= UNROLLED_DEPTH
    body = rematerialised(body, remat, looped=not unroll)
    part = layers_of(stack, start, stop)
    return jax.lax.scan(lambda carry, params: (body(params, carry), None), x, part, unroll=unroll)[0]


def step_layers(
    residuals: Mapping[str, Residual],
    params: Params,
    layers: Cache,
    x: jax.Array,
    position: jax.Array,
    start: int,
    stop: int,
) -> tuple[jax.Array, Cache]:
    """The cached form of layers start … stop − 1: x [B, t, D], and what they add to the cache `layers`,
    leaves [stop − start, B, t, ...]; {} where there is nothing to do.
    """
    if start == stop or not residuals:
        return x, {}

    def body(x, stack):
        added = {}
        for name, residual in residuals.items():
            x, added[name] = residual.step.apply(stack["params"][name], x, stack["past"][name], position)
        return x, added

    stack = {
        "params": {name: params[name] for name in residuals},
        "past": {name: layers[name] for name in residuals},
    }
    return jax.lax.scan(body, x, layers_of(stack, start, stop))


def extended(layers: Cache, added: Cache, position: jax.Array) -> Cache:
    """The cache `layers` with what a step added, leaves [L, B, t, ...], in its place."""
    return {
        name: past
        | {
            part: jax.lax.dynamic_update_slice_in_dim(past[part], new, position, axis=2)
            for part, new in added[name].items()
        }
        for name, past in layers.items()
    }


def one_stack(parts: Sequence[Cache]) -> Cache:
    """What `step_layers` gave for one range of layers after another, as one stack per residual operator."""
    names = {name: None for part in parts for name in part}
    return {
        name: jax.tree.map(
            lambda *leaves: jnp.concatenate(leaves), *(part[name] for part in parts if name in part)
        )
        for name in names
    }
