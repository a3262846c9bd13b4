"""Chunked cross-attention: how a decoder reads its neighbours without seeing the future (RETRO section 2.4,
figure 2).
"""

import haiku as hk
import jax
import jax.numpy as jnp

from models.layers.attention import RelativeCrossAttention
from models.layers.norms import NORMS


class ChunkedCrossAttention(hk.Module):
    """x + CCA(norm(x), E): the attending chunk H⁺_u is the last token of C_u and the first m − 1 tokens of
    C_{u+1}.

    It attends to all k·r encoded tokens of E_u in one softmax, at distances d(i, i') = i − i' + m − 1 (the
    paper prints l where it means m). The first m − 1 positions of the sequence see no neighbour and pass
    unchanged.
    """

    def __init__(
        self, num_heads: int, head_size: int, chunk: int, norm: str, output_scale: float, name: str = "cca"
    ):
        super().__init__(name=name)
        self.attention = (num_heads, head_size, output_scale)
        self.chunk, self.norm = chunk, norm

    def __call__(self, x_btd: jax.Array, encoded_bucre: jax.Array, mask_bucr: jax.Array) -> jax.Array:
        """x_btd [B, T, D], encoded [B, U, k, r, E] and its mask [B, U, k, r], U = T // m -> [B, T, D]."""
        batch, length, d_model = x_btd.shape
        num_chunks, m = encoded_bucre.shape[1], self.chunk
        attending = NORMS[self.norm](name="norm")(x_btd)[:, m - 1 :]
        missing = num_chunks * m - attending.shape[1]
        attending = jnp.pad(attending, ((0, 0), (0, missing), (0, 0)))

        mixed = RelativeCrossAttention(*self.attention)(
            attending.reshape(batch * num_chunks, m, d_model),
            encoded_bucre.reshape(batch * num_chunks, *encoded_bucre.shape[2:]),
            mask_bucr.reshape(batch * num_chunks, *mask_bucr.shape[2:]),
            offset=m - 1,
        ).reshape(batch, num_chunks * m, d_model)
        return x_btd + jnp.pad(mixed, ((0, 0), (m - 1, 0), (0, 0)))[:, :length]
