"""What a text's neighbours did to it: the loss of every token with them, without them, and with one left out;
and how much attention each was given.

Shape legend beside models.layers': U chunks, M = m tokens of a chunk, k neighbours of each, r tokens of one.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from optax import softmax_cross_entropy_with_integer_labels as token_nats

from models.decoder import Cache, Model, Neighbours, Params
from models.retro.model import attending_spans
from models.retro.shares import attention_shares


@dataclass(frozen=True)
class Attribution:
    """Losses in nats, of tokens 1 … T − 1: the first one is given.

    nats_on, nats_off: float32 [T − 1], with all neighbours and with none.
    nats_without: float32 [U, k, M], of the tokens of chunk u + 1 when neighbour c of chunk u alone is left
    out: all other neighbours, and all tokens before, are as they were. NaN past the text's end.
    shares: float32 [U, k], the part of chunked cross-attention that goes to each neighbour of chunk u: the
    mean over layers, heads and the positions that predict a token. 0 for a missing one.
    """

    nats_on: np.ndarray
    nats_off: np.ndarray
    nats_without: np.ndarray
    shares: np.ndarray


def attribute(model: Model, params: Params, tokens_t: np.ndarray, neighbours: Neighbours) -> Attribution:
    """Reads a text once. Of its chunk u + 1, the one that the neighbours of chunk u act on (from the last
    token of u to the last but one of u + 1), every token is predicted k times more, from the same cache.

    Args:
      params: as the model computes with them.
      tokens_t: int [T].
      neighbours: [U, k, r], those of all U = (T − 1) // m chunks that a further token follows.
    """
    (num_chunks, k), m = neighbours.tokens.shape[:2], model.config.chunk
    predicted = len(tokens_t) - 1
    nats_on = np.zeros(predicted, np.float32)
    nats_without = np.full((num_chunks, k, m), np.nan, np.float32)
    shares = np.zeros((num_chunks, k), np.float32)
    if predicted == 0:
        return Attribution(nats_on, nats_on, nats_without, shares)
    tokens_bt = np.asarray(tokens_t, np.int32)[None]
    inputs, targets = tokens_bt[:, :-1], tokens_bt[:, 1:]
    cache = jax.jit(model.cache, static_argnums=(1, 2))(params, 1, predicted)
    for u, (start, stop) in enumerate(attending_spans(0, predicted, m), start=-1):
        span = inputs[:, start:stop], targets[:, start:stop]
        found = None if u < 0 else Neighbours(*(field[None, u : u + 1] for field in neighbours))
        for c in range(k if found else 0):
            mask = found.mask.copy()
            mask[:, :, c] = False
            nats, _ = _step_nats(model.step, params, cache, *span, found._replace(mask=mask))
            nats_without[u, c, : stop - start] = nats
        nats_on[start:stop], cache = _step_nats(model.step, params, cache, *span, found)
    nats_off = np.asarray(_nats(model.apply, params, inputs, targets))
    if num_chunks:
        batch = Neighbours(*(field[None] for field in neighbours))
        weights = jax.jit(attention_shares, static_argnums=0)(model.config, params, inputs, batch)
        asks = m - 1 + np.arange(num_chunks * m).reshape(num_chunks, m) < predicted
        weights_ukm = np.asarray(weights).mean(axis=(0, 4))[0].swapaxes(1, 2)
        shares = weights_ukm.mean(axis=-1, where=asks[:, None])
    return Attribution(nats_on, nats_off, nats_without, shares)


@functools.partial(jax.jit, static_argnames="step")
def _step_nats(
    step: Callable, params: Params, cache: Cache, tokens_bt: jax.Array, targets_bt: jax.Array,
    neighbours: Neighbours | None,
) -> tuple[jax.Array, Cache]:  # fmt: skip
    logits_btv, cache = step(params, cache, tokens_bt, neighbours)
    return token_nats(logits_btv, targets_bt)[0], cache


@functools.partial(jax.jit, static_argnames="apply")
def _nats(apply: Callable, params: Params, tokens_bt: jax.Array, targets_bt: jax.Array) -> jax.Array:
    return token_nats(apply(params, tokens_bt), targets_bt)[0]
