"""Attention modules: causal self-attention with the papers' head sharing and positions, and RETRO's attention
over aligned runs of keys. The arithmetic is that of dot_product_attention.py, relative positions those of
positions.py.
"""

from collections.abc import Mapping

import haiku as hk
import jax
import jax.numpy as jnp

from models.layers.axes import HEADS, share
from models.layers.dot_product_attention import (
    attention_over_runs,
    causal_attention,
    causal_relative_attention,
    grouped_logits,
    weighted,
)
from models.layers.linear import linear
from models.layers.masking import masked_softmax
from models.layers.positions import biased, logits_by_distance, relative, rotary

KEY_VALUE_HEADS = ("multi_query", "multi_head")
POSITIONS = ("rope", "learned", "relative")

# What a layer of a cache holds: key, value [B, S, G, K], and for relative positions relative [2S − 1, H, K].
Past = Mapping[str, jax.Array]


class _Attention(hk.Module):
    """The projections; score(i, j) = q_i·k_j / √K, or with relative positions that of positions.py."""

    def __init__(self, num_heads: int, head_size: int, relative: bool, output_scale: float, name: str):
        super().__init__(name=name)
        self.num_heads, self.head_size = share(num_heads, HEADS), head_size
        self.relative, self.output_scale = relative, output_scale

    @hk.transparent
    def heads(self, x: jax.Array, name: str, num_heads: int | None = None) -> jax.Array:
        """[..., D] -> [..., H, K]."""
        num_heads = num_heads or self.num_heads
        projected = linear(num_heads * self.head_size, name)(x)
        return projected.reshape(*x.shape[:-1], num_heads, self.head_size)

    @hk.transparent
    def output(self, mixed: jax.Array, d_model: int) -> jax.Array:
        """[..., H, K] -> [..., D]."""
        flat = mixed.reshape(*mixed.shape[:-2], self.num_heads * self.head_size)
        return linear(d_model, "output", self.output_scale)(flat)


class CausalAttention(_Attention):
    """Self-attention over the past.

    key_value_heads: multi_query, one key/value head shared by all query heads (PaLM section 2), or
    multi_head. positions: rope, relative with d(i, j) = min(i − j, max_length − 1), or learned, which add to
    the embedding and leave attention without any.
    """

    def __init__(
        self, num_heads: int, head_size: int, key_value_heads: str, positions: str, max_length: int,
        output_scale: float = 1.0,
    ):  # fmt: skip
        super().__init__(
            num_heads, head_size, positions == "relative", output_scale, f"{key_value_heads}_attention"
        )
        self.num_key_value_heads = {"multi_query": 1, "multi_head": self.num_heads}[key_value_heads]
        self.rotates, self.max_length = positions == "rope", max_length

    def __call__(self, x_btd: jax.Array) -> jax.Array:
        """[B, T, D] -> [B, T, D]."""
        length, d_model = x_btd.shape[1:]
        q, k, v = self._project(x_btd, jnp.arange(length))
        if self.relative:
            relative_nhk = self._falling(length - 1, 0, x_btd)
            content, position = biased(q)
            mixed_bthk = causal_relative_attention(content, position, relative_nhk, k, v)
        else:
            mixed_bthk = causal_attention(q, k, v)
        return self.output(mixed_bthk, d_model)

    @hk.name_like("__call__")
    def past(self, x_btd: jax.Array, length: int) -> Past:
        """An empty cache for `length` positions of sequences like `x_btd`."""
        shape = (x_btd.shape[0], length, self.num_key_value_heads, self.head_size)
        empty = {name: jnp.zeros(shape, x_btd.dtype) for name in ("key", "value")}
        # W_r R depends on parameters alone: projecting it anew would cost a step more than all the rest.
        return empty | ({"relative": self._falling(length - 1, 1 - length, x_btd)} if self.relative else {})

    @hk.name_like("__call__")
    def step(self, x_btd: jax.Array, past: Past, position: jax.Array) -> tuple[jax.Array, Past]:
        """Positions position … position + T − 1 -> [B, T, D], and the keys and values that they add."""
        length, d_model = x_btd.shape[1:]
        q, k, v = self._project(x_btd, position + jnp.arange(length))
        new = {"key": k, "value": v}
        keys, values = (
            jax.lax.dynamic_update_slice_in_dim(past[name], new[name], position, axis=1)
            for name in ("key", "value")
        )
        room = keys.shape[1]
        mask_ts = position + jnp.arange(length)[:, None] >= jnp.arange(room)[None]
        if self.relative:
            content, q = biased(q)
            # Distances of these queries: position + T − 1 for the last to key 0, down to that of the first
            # to the last key.
            relative_nhk = jax.lax.dynamic_slice_in_dim(
                past["relative"], room - length - position, room + length - 1
            )
            relative_hnk = relative_nhk.transpose(1, 0, 2)
            by_distance = logits_by_distance(q.transpose(2, 0, 1, 3), relative_hnk, room)
            logits = grouped_logits(content, keys) + by_distance.transpose(1, 0, 2, 3)
        else:
            logits = grouped_logits(q * self.head_size**-0.5, keys)
        mixed_bthk = weighted(masked_softmax(logits, mask_ts[None, None]), values)
        return self.output(mixed_bthk, d_model), new

    @hk.transparent
    def _project(self, x_btd, positions_t):
        q = self.heads(x_btd, "query")
        k, v = (self.heads(x_btd, name, self.num_key_value_heads) for name in ("key", "value"))
        if self.rotates:
            q, k = rotary(q, positions_t), rotary(k, positions_t)
        return q, k, v

    @hk.transparent
    def _falling(self, largest: int, smallest: int, like: jax.Array) -> jax.Array:
        """W_r R for the distances largest … smallest; beyond the training length all are alike."""
        distances_n = jnp.minimum(jnp.arange(largest, smallest - 1, -1), self.max_length - 1)
        return relative(distances_n, self.num_heads, self.head_size, like)


class CrossAttention(_Attention):
    """Attention of T queries over C aligned runs of S keys (Z = C·S) in one softmax, distance d(i, j) = i − j
    + offset.

    Serves the neighbour encoder (keys = queries, or the retrieving chunk: C = 1, offset 0) and chunked
    cross-attention (C = k neighbours, offset m − 1). All runs share the same distances: "all neighbours share
    the same positional encodings" (RETRO 2.4). relative=False leaves positions out.
    """

    def __init__(self, num_heads: int, head_size: int, output_scale: float = 1.0, relative: bool = True):
        super().__init__(num_heads, head_size, relative, output_scale, "multi_head_attention")

    def __call__(self, x_btd: jax.Array, keys_bcse: jax.Array, mask_bcs: jax.Array, offset: int) -> jax.Array:
        """x [B, T, D] queries, keys [B, C, S, E], mask [B, C, S] bool -> [B, T, D]; zero where no key is
        left.
        """
        queries = self._queries(x_btd)
        memory = self.memory(keys_bcse)
        distances = self.distances(x_btd.shape[1], keys_bcse.shape[2], offset, x_btd)
        return self._attend(queries, memory, distances, mask_bcs, x_btd.shape[-1])

    @hk.name_like("__call__")
    def memory(self, keys_bcse: jax.Array) -> Past:
        """[B, C, S, E] -> key and value [B, Z, H, K]."""
        flat = keys_bcse.reshape(keys_bcse.shape[0], -1, keys_bcse.shape[-1])
        return {name: self.heads(flat, name) for name in ("key", "value")}

    @hk.name_like("__call__")
    def distances(self, length: int, num_keys: int, offset: int, like: jax.Array) -> jax.Array | None:
        """W_r R [T + S − 1, H, K] of all distances of T queries to S keys, falling; None without."""
        if not self.relative:
            return None
        distances_n = jnp.arange(length - 1 + offset, offset - num_keys, -1)
        return relative(distances_n, self.num_heads, self.head_size, like)

    @hk.name_like("__call__")
    def shares(self, x_btd: jax.Array, keys_bcse: jax.Array, mask_bcs: jax.Array, offset: int) -> jax.Array:
        """float32 [B, T, H, C]: the part of its attention that a query gives to every run in `__call__`. They
        sum to 1; all are zero where no key is left.
        """
        batch, runs, num_keys = mask_bcs.shape
        keys_bzhk = self.memory(keys_bcse)["key"]
        distances = self.distances(x_btd.shape[1], num_keys, offset, x_btd)
        # Where a key's value says which run it belongs to, the mean of values is the runs' shares.
        run_zc = jnp.repeat(jnp.eye(runs), num_keys, axis=0)
        run_bzhc = jnp.broadcast_to(run_zc[None, :, None], (*keys_bzhk.shape[:3], runs))
        content, position = self._queries(x_btd)
        shares_bthc = attention_over_runs(content, position, distances, keys_bzhk, run_bzhc, mask_bcs)
        return _zero_without_keys(shares_bthc, mask_bcs)

    @hk.name_like("__call__")
    def step(
        self, x_btd: jax.Array, memory: Past, distances_nhk: jax.Array | None, mask_bcs: jax.Array,
        first: jax.Array,
    ) -> jax.Array:  # fmt: skip
        """`__call__` for the T queries from number `first` on, from what `memory` and `distances` gave."""
        if self.relative:
            length, num_keys = x_btd.shape[1], mask_bcs.shape[-1]
            largest = distances_nhk.shape[0] - num_keys - first - length + 1
            distances_nhk = jax.lax.dynamic_slice_in_dim(distances_nhk, largest, length + num_keys - 1)
        return self._attend(self._queries(x_btd), memory, distances_nhk, mask_bcs, x_btd.shape[-1])

    @hk.transparent
    def _queries(self, x_btd):
        q_bthk = self.heads(x_btd, "query")
        return biased(q_bthk) if self.relative else (q_bthk * self.head_size**-0.5, None)

    @hk.transparent
    def _attend(self, queries, memory, distances_nhk, mask_bcs, d_model):
        mixed_bthk = attention_over_runs(*queries, distances_nhk, memory["key"], memory["value"], mask_bcs)
        return self.output(_zero_without_keys(mixed_bthk, mask_bcs), d_model)


def _zero_without_keys(mixed_bthk, mask_bcs):
    """Without any key, weights are uniform and mean nothing."""
    return jnp.where(mask_bcs.any((1, 2))[:, None, None, None], mixed_bthk, 0)
