"""Positions: rotary embeddings (PaLM), and Transformer-XL's sinusoids of distances with their shift (Gopher,
RETRO).
"""

import jax
import jax.numpy as jnp

WAVELENGTH = 10_000.0


def _angles(positions: jax.Array, size: int) -> jax.Array:
    """positions [...] -> [..., size // 2] angles in float32; bfloat16 would merge neighbouring positions."""
    frequencies = WAVELENGTH ** (-jnp.arange(0, size, 2, dtype=jnp.float32) / size)
    return jnp.multiply.outer(positions.astype(jnp.float32), frequencies)


def rotary(x_bthk: jax.Array, positions_t: jax.Array) -> jax.Array:
    """Rotates the pairs (m, m + K/2) of every head by position · 10000^(−2m/K) (Su et al. 2021; PaLM section
    2).

    Args:
      x_bthk: queries or keys [B, T, H, K].
      positions_t: [T] integers.
    """
    angles_tk = _angles(positions_t, x_bthk.shape[-1])[None, :, None, :]
    first, second = jnp.split(x_bthk.astype(jnp.float32), 2, axis=-1)
    cos, sin = jnp.cos(angles_tk), jnp.sin(angles_tk)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(
        x_bthk.dtype
    )


def sinusoids(distances_n: jax.Array, width: int) -> jax.Array:
    """[N] distances -> [N, width]: concat(sin, cos) of distance · 10000^(−2m/width) (Dai et al. 2019)."""
    angles = _angles(distances_n, width)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def shift(logits: jax.Array, num_keys: int) -> jax.Array:
    """Turns logits by distance into logits by key (the shift of Transformer-XL, appendix B).

    Column n of the input belongs to the distance (largest − n), and the largest distance is that of the last
    query to key 0. So key j of query i is column (T − 1 − i) + j. Columns past the smallest distance given
    wrap into the next row: a caller who gives non-negative distances only must mask the future afterwards.

    Args:
      logits: [..., T, N] with N ≥ num_keys.
    Returns: [..., T, num_keys].
    """
    *batch, length, distances = logits.shape
    padded = jnp.pad(logits, [(0, 0)] * (len(batch) + 1) + [(0, 1)])
    flat = padded.reshape(*batch, length * (distances + 1))[..., length - 1 : length - 1 + length * distances]
    return flat.reshape(*batch, length, distances)[..., :num_keys]


def logits_by_distance(q_bthk: jax.Array, relative_nhk: jax.Array, num_keys: int) -> jax.Array:
    """The position term (q + v)·W_r R_{d(i, j)}, from R in order of falling distance -> [B, H, T, num_keys].

    The batch is folded into the rows of one product per head: XLA's CPU backend takes four times as long over
    the gradient of the product written with B and H as they come.
    """
    batch, length, heads, size = q_bthk.shape
    q_hmk = q_bthk.transpose(2, 0, 1, 3).reshape(heads, batch * length, size)
    by_distance = jnp.einsum("hmk,hnk->hmn", q_hmk, relative_nhk.transpose(1, 0, 2))
    return shift(by_distance.reshape(heads, batch, length, -1), num_keys).transpose(1, 0, 2, 3)
