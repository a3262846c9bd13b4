"""What every decoder has in common: a model as a record of functions, and depth as a leading axis.

One residual operator (attention, feed-forward, PaLM's parallel block, chunked cross-attention) is one Haiku
transform. Its parameters for all layers come from `vmap(init)` and carry a leading axis [L, ...]; a range of
layers is a scan over a slice. So a pipeline stage is a slice, and RETRO is Gopher's operators with another
one in between.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import haiku as hk
import jax

Params = Mapping[str, Any]

# What a backward pass may find stored; everything else in a layer is computed again.
REMATERIALISATION = {
    "none": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}


class Neighbours(NamedTuple):
    """What was retrieved for each chunk of a batch.

    tokens: [B, U, k, r] ids, U = T // m chunks. mask: the same shape, False where there is no token: a
    missing neighbour, or a continuation that its document cuts short.
    """

    tokens: jax.Array
    mask: jax.Array


@dataclass(frozen=True)
class Model:
    """Pure functions made from a configuration. `params` is a tree whose first keys are the operators.

    init: key -> params.
    apply: (params, tokens [B, T], neighbours or None) -> logits [B, T, V] in float32. Position t sees tokens
    ≤ t.
    embed: (params, tokens) -> [B, T, D].   unembed: (params, [B, T, D]) -> logits.
    layers: (params, [B, T, D], start, stop) -> [B, T, D] after the dense layers start … stop − 1.
    """

    config: Any
    init: Callable[[jax.Array], Params]
    apply: Callable[..., jax.Array]
    embed: Callable[[Params, jax.Array], jax.Array]
    unembed: Callable[[Params, jax.Array], jax.Array]
    layers: Callable[[Params, jax.Array, int, int], jax.Array]


class Operator(NamedTuple):
    """A Haiku function as a pair of pure ones: init(key, *inputs) -> params, apply(params, *inputs) ->
    output.
    """

    init: Callable[..., Params]
    apply: Callable[..., jax.Array]


def operator(function: Callable[..., jax.Array]) -> Operator:
    """Makes an operator of a function that builds and calls Haiku modules."""
    transformed = hk.without_apply_rng(hk.transform(function))
    return Operator(transformed.init, transformed.apply)


def init_stack(op: Operator, key: jax.Array, depth: int, *inputs: jax.Array) -> Params:
    """Parameters of `depth` independent layers, every leaf [depth, ...]."""
    return jax.vmap(lambda k: op.init(k, *inputs))(jax.random.split(key, depth))


def layer(stack: Params, index: int) -> Params:
    """The parameters of one layer of a stack."""
    return jax.tree.map(lambda leaf: leaf[index], stack)


# Stacking a loop's residuals costs a CPU a fifth of a tiny model's step; deep models keep the loop, and
# their compile time.
UNROLLED_DEPTH = 4


def rematerialised(body: Callable[..., jax.Array], remat: str) -> Callable[..., jax.Array]:
    """`body` whose backward pass stores what the policy `remat` names, and computes the rest again."""
    policy = REMATERIALISATION[remat]
    return body if policy is None else jax.checkpoint(body, policy=policy, prevent_cse=False)


def scan_layers(
    body: Callable[[Params, jax.Array], jax.Array],
    stack: Params,
    x: jax.Array,
    start: int,
    stop: int,
    remat: str,
) -> jax.Array:
    """Applies body(params of layer l, x) for l = start … stop − 1.

    Args:
      stack: tree with leaves [L, ...].
      remat: a name in REMATERIALISATION.
    """
    if start == stop:
        return x
    body = rematerialised(body, remat)
    part = jax.tree.map(lambda leaf: leaf[start:stop], stack)
    unroll = stop - start <= UNROLLED_DEPTH
    return jax.lax.scan(lambda carry, params: (body(params, carry), None), x, part, unroll=unroll)[0]
