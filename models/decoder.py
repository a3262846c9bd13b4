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


# What rides beside the tokens of a batch: RETRO's neighbours, or nothing.
Beside = Neighbours | None


class Carry(NamedTuple):
    """What goes from layer to layer, and from part to part where a model is cut into several.

    x: [B, T, D]. encoded: what an operator that stands in some layers reads in all of them, such as RETRO's
    encoded neighbours; None before the first. auxiliary_loss: what layers add to the loss; None where none
    does.
    """

    x: jax.Array
    encoded: Any = None
    auxiliary_loss: jax.Array | None = None


@dataclass(frozen=True)
class Model:
    """Pure functions made from a configuration. `params` is a tree whose first keys are the operators.

    init: key -> params.
    hidden: (params, tokens [B, T], beside) -> [B, T, D]. Position t sees tokens ≤ t.
    unembed: (params, [B, T, D]) -> logits [B, T, V] in float32, by the final norm and the embedding alone.
    embed: (params, tokens) -> [B, T, D].
    layers: (params, [B, T, D], start, stop) -> [B, T, D] after the dense layers start … stop − 1.
    take: (params, start, stop) -> the parameters of layers start … stop − 1 alone, for `run`.
    run: (what take gave, Carry, start, stop, beside) -> Carry: these layers.
    cache: (params, batch, length) -> a Cache with room for `length` positions of which none is read.
    step: (params, cache, tokens [B, t], beside) -> (logits [B, t, V], cache): reads the next t tokens, as
    `apply` on the whole would. For RETRO see models.retro.cached_step.attending_spans.
    """

    config: Any
    init: Callable[[jax.Array], Params]
    hidden: Callable[..., jax.Array]
    unembed: Callable[[Params, jax.Array], jax.Array]
    embed: Callable[[Params, jax.Array], jax.Array]
    layers: Callable[[Params, jax.Array, int, int], jax.Array]
    take: Callable[[Params, int, int], Params]
    run: Callable[..., Carry]
    cache: Callable[[Params, int, int], Cache]
    step: Callable[..., tuple[jax.Array, Cache]]

    def apply(self, params: Params, tokens_bt: jax.Array, beside: Beside = None) -> jax.Array:
        """Logits [B, T, V] in float32 of tokens [B, T]; a dense model ignores `beside`."""
        return self.unembed(params, self.hidden(params, tokens_bt, beside))


class Operator(NamedTuple):
    """A Haiku function as a pair of pure ones: init(key, *inputs) -> params, apply(params, *inputs) ->
    output.
    """

    init: Callable[..., Params]
    apply: Callable[..., Any]


class Residual(NamedTuple):
    """x -> x + f(x), and how it resumes after what it has read; parameters are those of `whole` throughout.

    whole: x [B, T, D] -> x. past: (x, length) -> an empty cache of one layer, {} where a position needs no
    other. step: (x, past, position) -> (x, what these positions add to the cache).
    """

    whole: Operator
    past: Operator
    step: Operator


def operator(function: Callable[..., Any], *inputs: Names, output: Names = STREAM) -> Operator:
    """Makes an operator of a function that builds and calls Haiku modules.

    inputs, output: the logical axes of what it is applied to and returns. With them, it runs on shares where
    there is a mesh (models.layers.axes).
    """
    transformed = hk.without_apply_rng(hk.transform(function))
    apply = on_shares(transformed.apply, inputs, output) if inputs else transformed.apply
    return Operator(transformed.init, apply)
