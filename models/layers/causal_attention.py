"""The arithmetic of causal attention, without parameters: blocks of queries, each against its own prefix of
keys, so that [B, H, T, T] is never held and the half that the mask would throw away is never computed.

Shape legend beside this folder's: G key/value heads, 1 (multi-query) or H (multi-head).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from models.layers.positions import logits_by_distance

MASKED = -1e30  # finite, so that a row without any key stays free of NaN
QUERY_BLOCKS = 8


def masked_softmax(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """Softmax in float32 over the last axis where `mask` (broadcastable) holds; a row without any key is
    uniform.
    """
    return jax.nn.softmax(jnp.where(mask, logits.astype(jnp.float32), MASKED), axis=-1).astype(logits.dtype)


def causal_attention(q_bthk: jax.Array, k_bsgk: jax.Array, v_bsgk: jax.Array) -> jax.Array:
    """softmax(q·k/√K) v over the past: [B, T, H, K] and [B, T, G, K] twice -> [B, T, H, K]."""
    scaled = q_bthk * q_bthk.shape[-1] ** -0.5

    def attend(start, stop):
        logits = grouped_logits(scaled[:, start:stop], k_bsgk[:, :stop])
        return weighted(masked_softmax(logits, _causal_mask(start, stop)[None, None]), v_bsgk[:, :stop])

    return _by_blocks(q_bthk.shape[1], attend)


def causal_relative_attention(
    content_bthk: jax.Array,
    position_bthk: jax.Array,
    relative_nhk: jax.Array,
    k_bsgk: jax.Array,
    v_bsgk: jax.Array,
) -> jax.Array:
    """softmax(content·k + position·R_{i−j}) v over the past -> [B, T, H, K].

    Args:
      content_bthk, position_bthk: (q + u)/√K and (q + v)/√K.
      relative_nhk: W_r R in order of falling distance T − 1 … 0.
      k_bsgk, v_bsgk: [B, T, G, K].
    """
    length = content_bthk.shape[1]

    def attend(start, stop):
        rows = slice(start, stop)
        logits = grouped_logits(content_bthk[:, rows], k_bsgk[:, :stop])
        logits += logits_by_distance(position_bthk[:, rows], relative_nhk[length - stop :], stop)
        return weighted(masked_softmax(logits, _causal_mask(start, stop)[None, None]), v_bsgk[:, :stop])

    return _by_blocks(length, attend)


def grouped_logits(q_bthk: jax.Array, k_bsgk: jax.Array) -> jax.Array:
    """q·k, every group of H/G query heads with its own key head -> [B, H, T, S]."""
    batch, length, heads, size = q_bthk.shape
    groups = k_bsgk.shape[2]
    q_btgnk = q_bthk.reshape(batch, length, groups, heads // groups, size)
    logits = jnp.einsum("btgnk,bsgk->bgnts", q_btgnk, k_bsgk)
    return logits.reshape(batch, heads, length, -1)


def weighted(weights_bhts: jax.Array, v_bsgk: jax.Array) -> jax.Array:
    """Sums of values under attention weights -> [B, T, H, K]."""
    batch, heads, length, num_keys = weights_bhts.shape
    groups = v_bsgk.shape[2]
    weights_bgnts = weights_bhts.reshape(batch, groups, heads // groups, length, num_keys)
    return jnp.einsum("bgnts,bsgk->btgnk", weights_bgnts, v_bsgk).reshape(batch, length, heads, -1)


def _by_blocks(length: int, attend: Callable[[int, int], jax.Array]) -> jax.Array:
    """Concatenates attend(start, stop) [B, stop − start, ...] over blocks of queries that see keys [0, stop).

    A block's weights are computed again in the backward pass: storing them costs more than the two products.
    """
    block = max(64, -(-length // QUERY_BLOCKS))
    attend = jax.checkpoint(attend, static_argnums=(0, 1), prevent_cse=False)
    blocks = [attend(start, min(start + block, length)) for start in range(0, length, block)]
    return jnp.concatenate(blocks, axis=1)


def _causal_mask(start: int, stop: int) -> jax.Array:
    """[stop − start, stop]: query start + i sees keys up to itself."""
    return jnp.arange(start, stop)[:, None] >= jnp.arange(stop)[None, :]
