"""What a text's neighbours did to it: the loss of every token with them, without them, and with one left out;
and how much attention each was given.

Shape legend beside models.layers': U chunks, M = m tokens of a chunk, k neighbours of each, r tokens of one.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from optax import softmax_cross_entropy_with_integer_labels as token_nats

from models.decoder import Cache, Model, Neighbours, Params
from models.retro.cached_step import attending_spans
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
    """Reads a text twice, with its neighbours and without. The first time every token of chunk u + 1, which
    the neighbours of chunk u act on (from the last token of u to the last but one of u + 1), is predicted k
    times more from the same cache: what this takes grows as T · (k + 2).

    Args:
      params: as the model computes with them.
      tokens_t: int [T].
      neighbours: [U, k, r], those of all U = (T − 1) // m chunks that a further token follows.
    """
    (num_chunks, k), m, predicted = neighbours.tokens.shape[:2], model.config.chunk, len(tokens_t) - 1
    nats_on, nats_off = np.zeros((2, predicted), np.float32)
    nats_without = np.full((num_chunks, k, m), np.nan, np.float32)
    inputs_bt, targets_bt = _padded(model.config, tokens_t)

    def read(cache, u, start, stop, left_out=()):
        """The nats of a span, and the cache behind it, without some neighbours of chunk u."""
        span, near = slice(start, stop), None
        if u >= 0:
            span = slice(start, start + m)
            mask = neighbours.mask[None, u : u + 1].copy()
            mask[:, :, list(left_out)] = False
            near = Neighbours(neighbours.tokens[None, u : u + 1], mask)
        nats, cache = _step(model.step, params, cache, inputs_bt[:, span], targets_bt[:, span], near)
        return nats[: stop - start], cache

    on = off = jax.jit(model.cache, static_argnums=(1, 2))(params, 1, inputs_bt.shape[1])
    for u, (start, stop) in enumerate(attending_spans(0, predicted, m), start=-1):
        for c in range(k if u >= 0 else 0):
            nats_without[u, c, : stop - start], _ = read(on, u, start, stop, [c])
        nats_on[start:stop], on = read(on, u, start, stop)
        nats_off[start:stop], off = read(off, u, start, stop, range(k))
    shares = _shares(model.config, params, inputs_bt, predicted, neighbours)
    return Attribution(nats_on, nats_off, nats_without, shares)


def _padded(config: Any, tokens_t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is read and what is to be predicted, int32 [1, T'], filled up so that the last chunk is read by
    the program of the others; learned positions may end before.
    """
    length = -(-len(tokens_t) // config.chunk) * config.chunk
    if config.decoder.positions == "learned":
        length = max(len(tokens_t), min(length, config.decoder.max_length + 1))
    tokens = np.zeros((1, length), np.int32)
    tokens[0, : len(tokens_t)] = tokens_t
    return tokens[:, :-1], tokens[:, 1:]


def _shares(
    config: Any, params: Params, inputs_bt: Any, predicted: Any, neighbours: Neighbours
) -> np.ndarray:
    """float32 [U, k]: the mean over the positions that predict one of the text's tokens."""
    num_chunks, m = len(neighbours.tokens), config.chunk
    if num_chunks == 0:
        return np.zeros(neighbours.tokens.shape[:2], np.float32)
    batch = Neighbours(*(field[None] for field in neighbours))
    weights = jax.jit(attention_shares, static_argnums=0)(config, params, inputs_bt, batch)
    by_query_ukm = np.asarray(weights).mean(axis=(0, 4))[0].swapaxes(1, 2)
    asks_um = m - 1 + np.arange(num_chunks * m).reshape(num_chunks, m) < predicted
    return by_query_ukm.mean(axis=-1, where=asks_um[:, None])


@functools.partial(jax.jit, static_argnames="step")
def _step(
    step: Callable, params: Params, cache: Cache, tokens_bt: jax.Array, targets_bt: jax.Array,
    neighbours: Neighbours | None,
) -> tuple[jax.Array, Cache]:  # fmt: skip
    logits_btv, cache = step(params, cache, tokens_bt, neighbours)
    return token_nats(logits_btv, targets_bt)[0], cache
