"""What every decoder has in common: a model as a record of functions, and depth as a leading axis.

One residual operator (attention, feed-forward, PaLM's parallel block, chunked cross-attention) is one Haiku
transform. Its parameters for all layers come from `vmap(init)` and carry a leading axis [L, ...]; a range of
layers is a scan over a slice. So a pipeline stage is a slice, RETRO is Gopher's operators with another one in
between, and the cached step scans the same parameters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import haiku as hk
import jax

from models.layers.axes import STREAM, Names, on_shares

Params = Mapping[str, Any]
# position: int32, how many tokens have been read. layers: by residual operator, leaves [L, B, S, ...].
Cache = Mapping[str, Any]

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
    hidden: (params, tokens [B, T], neighbours or None) -> [B, T, D]. Position t sees tokens ≤ t.
    unembed: (params, [B, T, D]) -> logits [B, T, V] in float32, by the final norm and the embedding alone.
    embed: (params, tokens) -> [B, T, D].
    layers: (params, [B, T, D], start, stop) -> [B, T, D] after the dense layers start … stop − 1.
    take: (params, start, stop) -> the parameters of layers start … stop − 1 alone, for `run`.
    run: (what take gave, carry, start, stop, neighbours or None) -> carry: these layers. A carry is (x [B,
    T, D], what later layers need beside it: None, or RETRO's encoded neighbours).
    cache: (params, batch, length) -> a Cache with room for `length` positions of which none is read.
    step: (params, cache, tokens [B, t], neighbours or None) -> (logits [B, t, V], cache): reads the next t
    tokens, as `apply` on the whole would. For RETRO see models.retro.model.attending_spans.
    """

    config: Any
    init: Callable[[jax.Array], Params]
    hidden: Callable[..., jax.Array]
    unembed: Callable[[Params, jax.Array], jax.Array]
    embed: Callable[[Params, jax.Array], jax.Array]
    layers: Callable[[Params, jax.Array, int, int], jax.Array]
    take: Callable[[Params, int, int], Params]
    run: Callable[..., tuple[jax.Array, Any]]
    cache: Callable[[Params, int, int], Cache]
    step: Callable[..., tuple[jax.Array, Cache]]

    def apply(self, params: Params, tokens_bt: jax.Array, neighbours: Neighbours | None = None) -> jax.Array:
        """Logits [B, T, V] in float32 of tokens [B, T]; a dense model has no use for neighbours."""
        return self.unembed(params, self.hidden(params, tokens_bt, neighbours))


class Operator(NamedTuple):
    """A Haiku function as a pair of pure ones: init(key, *inputs) -> params, apply(params, *inputs) ->
    output.
    """

    init: Callable[..., Params]
    apply: Callable[..., jax.Array]


class Residual(NamedTuple):
    """x -> x + f(x), and how it goes on from what it has read; parameters are those of `whole` throughout.

    whole: x [B, T, D] -> x. past: (x, length) -> an empty cache of one layer, {} where a position needs no
    other. step: (x, past, position) -> (x, what these positions add to the cache).
    """

    whole: Operator
    past: Operator
    step: Operator


def operator(function: Callable[..., jax.Array], *inputs: Names, output: Names = STREAM) -> Operator:
    """Makes an operator of a function that builds and calls Haiku modules.

    inputs, output: the logical axes of what it is applied to and returns. With them, it runs on shares where
    there is a mesh (models.layers.axes).
    """
    transformed = hk.without_apply_rng(hk.transform(function))
    apply = on_shares(transformed.apply, inputs, output) if inputs else transformed.apply
    return Operator(transformed.init, apply)


def init_stack(op: Operator, key: jax.Array, depth: int, *inputs: jax.Array) -> Params:
    """Parameters of `depth` independent layers, every leaf [depth, ...]."""
    return jax.vmap(lambda k: op.init(k, *inputs))(jax.random.split(key, depth))


def layer(stack: Params, index: int) -> Params:
    """The parameters of one layer of a stack."""
    return jax.tree.map(lambda leaf: leaf[index], stack)


def layers_of(stack: Params, start: int, stop: int) -> Params:
    """The parameters of layers start … stop − 1 of a stack."""
    return jax.tree.map(lambda leaf: leaf[start:stop], stack)


# Stacking a loop's residuals costs a CPU a fifth of a tiny model's step; deep models keep the loop, and
# their compile time.
UNROLLED_DEPTH = 4


def rematerialised(
    body: Callable[..., jax.Array], remat: str, looped: bool = False
) -> Callable[..., jax.Array]:
    """`body` whose backward pass stores what the policy `remat` names, and computes the rest again.

    looped: whether it is the body of a loop. Elsewhere the compiler would find what is computed again in the
    forward pass, and keep it until then, unless it is kept from looking.
    """
    policy = REMATERIALISATION[remat]
    return body if policy is None else jax.checkpoint(body, policy=policy, prevent_cse=not looped)


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
