"""Positions: rotary embeddings (PaLM), and Transformer-XL's relative positions (Dai et al. 2019, section 3.3;
Gopher section 2.1, RETRO 2.4):

score(i, j) = [(q_i + u)·k_j + (q_i + v)·W_r R_{d(i, j)}] / √K, with R a sinusoid of the distance d(i, j).
W_r, u and v are learned, and belong to the module in which they are asked for.
"""

import haiku as hk
import jax
import jax.numpy as jnp

from models.layers.linear import linear

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


def biased(q: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Queries [..., H, K] -> (q + u)/√K and (q + v)/√K."""
    bias = [hk.get_parameter(name, q.shape[-2:], init=jnp.zeros) for name in ("u", "v")]
    content, position = (q + jnp.expand_dims(b.astype(q.dtype), range(q.ndim - 2)) for b in bias)
    return content * q.shape[-1] ** -0.5, position * q.shape[-1] ** -0.5


def relative(distances_n: jax.Array, num_heads: int, head_size: int, like: jax.Array) -> jax.Array:
    """[N] distances -> W_r R [N, H, K], R as wide as `like` and of its type."""
    sinusoids_nd = sinusoids(distances_n, like.shape[-1]).astype(like.dtype)
    return linear(num_heads * head_size, "relative")(sinusoids_nd).reshape(-1, num_heads, head_size)


def logits_by_distance(
    q_hbtk: jax.Array, relative_hnk: jax.Array, num_keys: int, dtype: jnp.dtype | None = None
) -> jax.Array:
    """The position term (q + v)·W_r R_{d(i, j)}, from R in order of falling distance -> [H, B, T, num_keys].

    Batch and queries are the rows of one product per head: XLA's CPU backend takes four times as long over
    the gradient of the product written with both as they come.

    dtype: what the product is summed and returned in; that of its factors unless given.
    """
    heads, batch, length, size = q_hbtk.shape
    q_hmk = q_hbtk.reshape(heads, batch * length, size)
    by_distance = jnp.einsum("hmk,hnk->hmn", q_hmk, relative_hnk, preferred_element_type=dtype)
    return shift(by_distance.reshape(heads, batch, length, -1), num_keys)
