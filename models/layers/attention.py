"""Attention: PaLM's multi-query form with rotary positions, and Transformer-XL's relative form used by Gopher
and RETRO.

The causal forms go block by block of queries, each against its own prefix of keys: the half of the square
that the mask would throw away is never computed.
"""

from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp

from models.layers.axes import BATCH, HEADS, LENGTH, constrain
from models.layers.linear import linear
from models.layers.positions import logits_by_distance, rotary, sinusoids

MASKED = -1e30  # finite, so that a row without any key stays free of NaN
QUERY_BLOCKS = 8


def masked_softmax(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """Softmax in float32 over the last axis where `mask` (broadcastable) holds; a row without any key is
    uniform.
    """
    return jax.nn.softmax(jnp.where(mask, logits.astype(jnp.float32), MASKED), axis=-1).astype(logits.dtype)


def causal_blocks(length: int, attend: Callable[[int, int], jax.Array]) -> jax.Array:
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


class MultiQueryAttention(hk.Module):
    """Causal attention with H query heads and one key/value head shared by all of them (PaLM section 2)."""

    def __init__(self, num_heads: int, head_size: int, name: str = "multi_query_attention"):
        super().__init__(name=name)
        self.num_heads, self.head_size = num_heads, head_size

    def __call__(self, x_btd: jax.Array) -> jax.Array:
        batch, length, d_model = x_btd.shape
        heads, size = self.num_heads, self.head_size
        positions = jnp.arange(length)
        q_bthk = linear(heads * size, "query")(x_btd).reshape(batch, length, heads, size)
        q_bthk = constrain(rotary(q_bthk, positions), BATCH, LENGTH, HEADS, None)
        k_bsk = rotary(linear(size, "key")(x_btd)[:, :, None], positions)[:, :, 0]
        v_bsk = linear(size, "value")(x_btd)

        def attend(start, stop):
            logits = jnp.einsum("bthk,bsk->bths", q_bthk[:, start:stop], k_bsk[:, :stop]) * size**-0.5
            weights = masked_softmax(logits, _causal_mask(start, stop)[None, :, None])
            return jnp.einsum("bths,bsk->bthk", weights, v_bsk[:, :stop])

        mixed_bthk = constrain(causal_blocks(length, attend), BATCH, LENGTH, HEADS, None)
        return linear(d_model, "output")(mixed_bthk.reshape(batch, length, heads * size))


class _RelativeAttention(hk.Module):
    """The parts of attention with Transformer-XL's relative positions (Dai et al. 2019; Gopher section 2.1,
    RETRO 2.4).

    score(i, j) = [(q_i + u)·k_j + (q_i + v)·W_r R_{d(i, j)}] / √K, with R a sinusoid of the distance, W_r, u
    and v learned.
    """

    def __init__(
        self, num_heads: int, head_size: int, output_scale: float = 1.0, name: str = "relative_attention"
    ):
        super().__init__(name=name)
        self.num_heads, self.head_size, self.output_scale = num_heads, head_size, output_scale

    @hk.transparent
    def heads(self, x: jax.Array, name: str) -> jax.Array:
        """[..., D] -> [..., H, K]."""
        projected = linear(self.num_heads * self.head_size, name)(x)
        return projected.reshape(*x.shape[:-1], self.num_heads, self.head_size)

    @hk.transparent
    def queries(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[..., D] -> (q + u)/√K and (q + v)/√K, each [..., H, K]."""
        q = self.heads(x, "query")
        bias = [hk.get_parameter(name, q.shape[-2:], init=jnp.zeros) for name in ("u", "v")]
        content, position = (q + jnp.expand_dims(b.astype(q.dtype), range(q.ndim - 2)) for b in bias)
        return content * self.head_size**-0.5, position * self.head_size**-0.5

    @hk.transparent
    def relative(self, distances_n: jax.Array, x: jax.Array) -> jax.Array:
        """[N] distances -> W_r R [N, H, K], R as wide as `x` and of its type."""
        return self.heads(sinusoids(distances_n, x.shape[-1]).astype(x.dtype), "relative")

    @hk.transparent
    def output(self, mixed: jax.Array, d_model: int) -> jax.Array:
        """[..., H, K] -> [..., D]."""
        flat = mixed.reshape(*mixed.shape[:-2], self.num_heads * self.head_size)
        return linear(d_model, "output", self.output_scale)(flat)


class CausalRelativeAttention(_RelativeAttention):
    """Self-attention over the past, distance d(i, j) = i − j."""

    def __call__(self, x_btd: jax.Array) -> jax.Array:
        """[B, T, D] -> [B, T, D]."""
        length, d_model = x_btd.shape[1:]
        content, position = (constrain(q, BATCH, LENGTH, HEADS, None) for q in self.queries(x_btd))
        k_bshk = constrain(self.heads(x_btd, "key"), BATCH, LENGTH, HEADS, None)
        v_bshk = constrain(self.heads(x_btd, "value"), BATCH, LENGTH, HEADS, None)
        relative_nhk = self.relative(jnp.arange(length - 1, -1, -1), x_btd)

        def attend(start, stop):
            rows = slice(start, stop)
            logits = jnp.einsum("bthk,bshk->bhts", content[:, rows], k_bshk[:, :stop])
            logits += logits_by_distance(position[:, rows], relative_nhk[length - stop :], stop)
            weights = masked_softmax(logits, _causal_mask(start, stop)[None, None])
            return jnp.einsum("bhts,bshk->bthk", weights, v_bshk[:, :stop])

        mixed_bthk = constrain(causal_blocks(length, attend), BATCH, LENGTH, HEADS, None)
        return self.output(mixed_bthk, d_model)


class RelativeCrossAttention(_RelativeAttention):
    """Attention of T queries over C aligned runs of S keys (Z = C·S) in one softmax, distance d(i, j) = i − j
    + offset.

    Serves the neighbour encoder (keys = queries, or the retrieving chunk: C = 1, offset 0) and chunked
    cross-attention (C = k neighbours, offset m − 1). All runs share the same distances: "all neighbours share
    the same positional encodings" (RETRO 2.4).
    """

    def __call__(self, x_btd: jax.Array, keys_bcse: jax.Array, mask_bcs: jax.Array, offset: int) -> jax.Array:
        """x [B, T, D] queries, keys [B, C, S, E], mask [B, C, S] bool -> [B, T, D]; zero where no key is
        left.
        """
        length, d_model = x_btd.shape[1:]
        batch, runs, num_keys = mask_bcs.shape
        content, position = self.queries(x_btd)
        k_bzhk, v_bzhk = (
            self.heads(keys_bcse.reshape(batch, runs * num_keys, -1), name) for name in ("key", "value")
        )
        relative_nhk = self.relative(jnp.arange(length - 1 + offset, offset - num_keys, -1), x_btd)
        logits = jnp.einsum("bthk,bzhk->bhtz", content, k_bzhk)
        logits += jnp.tile(logits_by_distance(position, relative_nhk, num_keys), runs)
        mask_bz = mask_bcs.reshape(batch, runs * num_keys)
        weights = masked_softmax(logits, mask_bz[:, None, None])
        mixed_bthk = jnp.einsum("bhtz,bzhk->bthk", weights, v_bzhk)
        return self.output(jnp.where(mask_bz.any(-1)[:, None, None, None], mixed_bthk, 0), d_model)
