"""The arithmetic of attention, without parameters. The causal forms go block by block of queries, forward and
backward, so that [B, H, T, T] is never held: memory grows linearly in T (Dao et al. 2022, FlashAttention).

Rough sketch, for one block of queries at a time:

    logits  = q·k, or content·k + position·R
    weights = exp(logits − max)              0 for the future
    mixed   = weights v / Σ weights          and log Z = max + log Σ weights, which is kept

    weights   = exp(logits − log Z)          backward: computed again
    d_weights = d_mixed·v
    d_logits  = weights (d_weights − Σ d_mixed·mixed)
    d_v       = weightsᵀ d_mixed             d_rows, d_k and d_R follow from d_logits

Glossary of shapes:
- B: sequences of the batch. T: queries of a sequence; t: of a block. S: keys of a sequence.
- H: query heads. G: key/value heads, 1 (multi-query) or H (multi-head). n: query heads that share one, H/G.
- M: rows, the queries of one key/value head: n·t. N: distances. K: size of a head.
- C: runs of keys that lie side by side, such as neighbours. Z: keys of all of them, C·S.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from models.layers.masking import MASKED, masked_softmax
from models.layers.positions import logits_by_distance

BLOCK = 64  # queries whose weights are held at once
SEGMENTS = 8  # shapes that are compiled: a segment's blocks all see the keys that its last one sees

# (rows, keys [G, B, S, K], relative) -> logits [G, B, n, t, S] in float32.
Scores = Callable[[Any, jax.Array, jax.Array | None], jax.Array]


def causal_attention(q_bthk: jax.Array, k_bsgk: jax.Array, v_bsgk: jax.Array) -> jax.Array:
    """softmax(q·k/√K) v over the past: [B, T, H, K] and [B, T, G, K] twice -> [B, T, H, K].

    Inputs of 16 bits go through cuDNN on a GPU.
    """
    if jax.default_backend() == "gpu" and q_bthk.dtype.itemsize == 2:
        return jax.nn.dot_product_attention(q_bthk, k_bsgk, v_bsgk, is_causal=True, implementation="cudnn")
    rows = (_by_group(q_bthk * q_bthk.shape[-1] ** -0.5, k_bsgk.shape[2]),)
    return _heads_last(_attend(_content_scores, rows, _by_key_head(k_bsgk), _by_key_head(v_bsgk), None))


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
    groups = k_bsgk.shape[2]
    rows = (_by_group(content_bthk, groups), _by_group(position_bthk, groups))
    relative_hnk = relative_nhk.transpose(1, 0, 2)
    return _heads_last(
        _attend(_relative_scores, rows, _by_key_head(k_bsgk), _by_key_head(v_bsgk), relative_hnk)
    )


def attention_over_runs(
    content_bthk: jax.Array,
    position_bthk: jax.Array | None,
    relative_nhk: jax.Array | None,
    k_bzhk: jax.Array,
    v_bzhk: jax.Array,
    mask_bcs: jax.Array,
) -> jax.Array:
    """softmax(content·k + position·R) v over C runs of S keys, Z = C·S, where the mask holds -> [B, T, H, K].

    Args:
      content_bthk, position_bthk: (q + u)/√K and (q + v)/√K; no positions where the second is None.
      relative_nhk: W_r R [T + S − 1, H, K] in order of falling distance, the same for every run.
    """
    heads, (batch, runs, num_keys) = content_bthk.shape[2], mask_bcs.shape
    logits = _content_scores((_by_group(content_bthk, heads),), _by_key_head(k_bzhk), None)
    if position_bthk is not None:
        relative_hnk = relative_nhk.transpose(1, 0, 2)
        by_distance = _distance_scores(_by_group(position_bthk, heads), relative_hnk, num_keys)
        by_run = logits.reshape(*logits.shape[:-1], runs, num_keys) + by_distance[..., None, :]
        logits = by_run.reshape(logits.shape)
    mask_bz = mask_bcs.reshape(batch, runs * num_keys)
    weights = masked_softmax(logits, mask_bz[None, :, None, None]).astype(v_bzhk.dtype)
    return _heads_last(_weighted_rows(weights, _by_key_head(v_bzhk)).astype(v_bzhk.dtype))


def _content_scores(rows, k_gbsk, relative_hnk):
    del relative_hnk
    (q_gbntk,) = rows
    groups, batch, shared, length, size = q_gbntk.shape
    q_gbmk = q_gbntk.reshape(groups, batch, shared * length, size)
    logits = jnp.einsum("gbmk,gbsk->gbms", q_gbmk, k_gbsk, preferred_element_type=jnp.float32)
    return logits.reshape(groups, batch, shared, length, -1)


def _relative_scores(rows, k_gbsk, relative_hnk):
    content, position = rows
    by_distance = _distance_scores(position, relative_hnk, k_gbsk.shape[2])
    return _content_scores((content,), k_gbsk, None) + by_distance


def _distance_scores(position_gbntk, relative_hnk, num_keys):
    groups, batch, shared, length, size = position_gbntk.shape
    rows_hbtk = position_gbntk.swapaxes(1, 2).reshape(groups * shared, batch, length, size)
    logits_hbts = logits_by_distance(rows_hbtk, relative_hnk, num_keys, jnp.float32)
    return logits_hbts.reshape(groups, shared, batch, length, num_keys).swapaxes(1, 2)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(
    scores: Scores, rows: Any, k_gbsk: jax.Array, v_gbsk: jax.Array, relative_hnk: jax.Array | None
) -> jax.Array:
    """softmax(scores) v over the past -> [G, B, n, T, K]; `rows` is a tuple of arrays of that shape."""
    return _forward(scores, rows, k_gbsk, v_gbsk, relative_hnk)[0]


def _forward(scores, rows, k_gbsk, v_gbsk, relative_hnk):
    """What `_attend` returns, and the logarithm of every row's normaliser [G, B, n, T, 1]."""
    length = v_gbsk.shape[2]

    def block(start, size, keys):
        logits = scores(*_block(rows, k_gbsk, relative_hnk, length, start, size, keys))
        logits = jnp.where(_causal_mask(start, size, keys), logits, MASKED)
        largest = jnp.max(logits, axis=-1, keepdims=True)
        weights = jnp.exp(logits - largest)
        normaliser = jnp.sum(weights, axis=-1, keepdims=True)
        mixed = _weighted_rows(weights.astype(v_gbsk.dtype), v_gbsk[:, :, :keys])
        return (mixed / normaliser).astype(v_gbsk.dtype), largest + jnp.log(normaliser)

    parts = []
    for start, stop, size in _segments(length):
        starts = _starts(start, stop, size, v_gbsk)
        if len(starts) == 1:
            parts.append(block(start, size, stop))
        else:
            _, stacked = jax.lax.scan(lambda _, s, z=size, n=stop: (None, block(s, z, n)), None, starts)
            parts.append(jax.tree.map(_joined, stacked))
    return jax.tree.map(lambda *blocks: jnp.concatenate(blocks, axis=3), *parts)


def _attend_forward(scores, rows, k_gbsk, v_gbsk, relative_hnk):
    mixed, log_z = _forward(scores, rows, k_gbsk, v_gbsk, relative_hnk)
    return mixed, (rows, k_gbsk, v_gbsk, relative_hnk, mixed, log_z)


def _attend_backward(scores, saved, gradient):
    """A block's weights are computed again from the normaliser (Dao et al. 2022, FlashAttention)."""
    # Without the barrier the compiler finds the weights in the forward pass, and keeps them all until here.
    (rows, k_gbsk, v_gbsk, relative_hnk, mixed, log_z), gradient = jax.lax.optimization_barrier(
        (saved, gradient)
    )
    length = v_gbsk.shape[2]
    towards = jnp.sum(gradient.astype(jnp.float32) * mixed, axis=-1, keepdims=True)

    def block(sums, start, size, keys):
        """Adds one block's share to the gradients of what all blocks read; returns those of its rows."""
        d_k, d_v, d_relative = sums
        read = _block(rows, k_gbsk, relative_hnk, length, start, size, keys)
        logits, pull = jax.vjp(scores, *read)
        cut = partial(jax.lax.dynamic_slice_in_dim, start_index=start, slice_size=size, axis=3)
        weights = jnp.where(_causal_mask(start, size, keys), jnp.exp(logits - cut(log_z)), 0.0)
        d_mixed = _folded(cut(gradient))
        d_weights = jnp.einsum(
            "gbmk,gbsk->gbms", d_mixed, v_gbsk[:, :, :keys], preferred_element_type=jnp.float32
        ).reshape(weights.shape)
        d_rows, dk, d_distances = pull(weights * (d_weights - cut(towards)))
        dv = jnp.einsum("gbms,gbmk->gbsk", _folded(weights).astype(d_mixed.dtype), d_mixed)
        d_k, d_v = d_k.at[:, :, :keys].add(dk), d_v.at[:, :, :keys].add(dv)
        if d_relative is not None:
            d_relative = _add_at(d_relative, d_distances, length - start - size)
        return (d_k, d_v, d_relative), d_rows

    sums = jax.tree.map(jnp.zeros_like, (k_gbsk, v_gbsk, _padded(relative_hnk, length)))
    parts = []
    for start, stop, size in _segments(length):
        starts = _starts(start, stop, size, gradient)
        if len(starts) == 1:
            sums, d_rows = block(sums, start, size, stop)
        else:
            sums, stacked = jax.lax.scan(lambda c, s, z=size, n=stop: block(c, s, z, n), sums, starts)
            d_rows = jax.tree.map(_joined, stacked)
        parts.append(d_rows)
    d_k, d_v, d_relative = sums
    d_rows = jax.tree.map(lambda *blocks: jnp.concatenate(blocks, axis=3), *parts)
    return d_rows, d_k, d_v, None if d_relative is None else d_relative[:, :length]


_attend.defvjp(_attend_forward, _attend_backward)


def _segments(length: int) -> Iterator[tuple[int, int, int]]:
    """(start, stop, block size): at most SEGMENTS runs of whole blocks of queries, and what is left over."""
    blocks, rest = divmod(length, BLOCK)
    step = BLOCK * max(1, -(-blocks // SEGMENTS))
    for start in range(0, length - rest, step):
        yield start, min(start + step, length - rest), BLOCK
    if rest:
        yield length - rest, length, rest


def _starts(start: int, stop: int, size: int, data: jax.Array) -> jax.Array:
    """Where a segment's blocks start, as if `data` had a say in it: masks that depend on nothing else would
    be computed before the loop, for all blocks at once.
    """
    return jax.lax.optimization_barrier((jnp.arange(start, stop, size), data))[0]


def _padded(relative_hnk, length):
    """Room past distance 0 for the last segment's keys that the mask hides from its first block."""
    if relative_hnk is None:
        return None
    room = max(stop - start - size for start, stop, size in _segments(length))
    return jnp.pad(relative_hnk, ((0, 0), (0, room), (0, 0)))


def _block(rows, k_gbsk, relative_hnk, length, start, size, keys):
    """What the scores of queries start … start + size − 1 against the first `keys` keys are made of."""
    rows = tuple(jax.lax.dynamic_slice_in_dim(x, start, size, axis=3) for x in rows)
    relative = _padded(relative_hnk, length)
    if relative is not None:
        relative = jax.lax.dynamic_slice_in_dim(relative, length - start - size, keys, axis=1)
    return rows, k_gbsk[:, :, :keys], relative


def _add_at(total_hnk, part_hnk, start):
    there = jax.lax.dynamic_slice_in_dim(total_hnk, start, part_hnk.shape[1], axis=1)
    return jax.lax.dynamic_update_slice_in_dim(total_hnk, there + part_hnk, start, axis=1)


def _causal_mask(start: Any, size: int, keys: int) -> jax.Array:
    """[1, 1, 1, size, keys]: query start + i sees keys up to itself."""
    return (start + jnp.arange(size)[:, None] >= jnp.arange(keys)[None])[None, None, None]


def _by_group(q_bthk: jax.Array, groups: int) -> jax.Array:
    """[B, T, H, K] -> [G, B, n, T, K]."""
    batch, length, heads, size = q_bthk.shape
    return q_bthk.reshape(batch, length, groups, heads // groups, size).transpose(2, 0, 3, 1, 4)


def _by_key_head(k_bsgk: jax.Array) -> jax.Array:
    """[B, S, G, K] -> [G, B, S, K]."""
    return k_bsgk.transpose(2, 0, 1, 3)


def _heads_last(mixed_gbntk: jax.Array) -> jax.Array:
    """[G, B, n, T, K] -> [B, T, H, K]."""
    groups, batch, shared, length, size = mixed_gbntk.shape
    return mixed_gbntk.transpose(1, 3, 0, 2, 4).reshape(batch, length, groups * shared, size)


def _folded(x_gbntk: jax.Array) -> jax.Array:
    """[G, B, n, T, K] -> [G, B, M, K]."""
    groups, batch, shared, length, last = x_gbntk.shape
    return x_gbntk.reshape(groups, batch, shared * length, last)


def _joined(blocks: jax.Array) -> jax.Array:
    """A scan's [blocks, G, B, n, t, ...] -> [G, B, n, blocks·t, ...]."""
    count, groups, batch, shared, size, last = blocks.shape
    return blocks.transpose(1, 2, 3, 0, 4, 5).reshape(groups, batch, shared, count * size, last)


def _weighted_rows(weights_gbnts: jax.Array, v_gbsk: jax.Array) -> jax.Array:
    """Sums of values -> [G, B, n, t, K] in float32."""
    mixed = jnp.einsum("gbms,gbsk->gbmk", _folded(weights_gbnts), v_gbsk, preferred_element_type=jnp.float32)
    return mixed.reshape(*weights_gbnts.shape[:-1], -1)


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
