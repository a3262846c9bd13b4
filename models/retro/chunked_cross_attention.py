"""Chunked cross-attention: how a decoder reads its neighbours without seeing the future (RETRO section 2.4,
figure 2).
"""

import haiku as hk
import jax
import jax.numpy as jnp

from models.layers.attention import CrossAttention, Past
from models.layers.axes import added, whole
from models.layers.norms import NORMS


class ChunkedCrossAttention(hk.Module):
    """x + CCA(norm(x), E): the attending chunk H⁺_u is the last token of C_u and the first m − 1 tokens of
    C_{u+1}.

    It attends to all k·r encoded tokens of E_u in one softmax, at distances d(i, i') = i − i' + m − 1 (the
    paper prints l where it means m). The first m − 1 positions of the sequence see no neighbour and pass
    unchanged.
    """

    def __init__(
        self, num_heads: int, head_size: int, chunk: int, norm: str, output_scale: float,
        relative: bool = True, name: str = "cca",
    ):  # fmt: skip
        super().__init__(name=name)
        self.attention = (num_heads, head_size, output_scale, relative)
        self.chunk, self.norm = chunk, norm

    def __call__(self, x_btd: jax.Array, encoded_bucre: jax.Array, mask_bucr: jax.Array) -> jax.Array:
        """x_btd [B, T, D], encoded [B, U, k, r, E] and its mask [B, U, k, r], U = T // m -> [B, T, D]."""
        normed, encoded_bucre = NORMS[self.norm](name="norm")(whole(x_btd)), whole(encoded_bucre)
        batch, length, d_model = normed.shape
        num_chunks, m = encoded_bucre.shape[1], self.chunk
        attending = normed[:, m - 1 :]
        missing = num_chunks * m - attending.shape[1]
        attending = jnp.pad(attending, ((0, 0), (0, missing), (0, 0)))

        mixed = CrossAttention(*self.attention)(
            attending.reshape(batch * num_chunks, m, d_model),
            encoded_bucre.reshape(batch * num_chunks, *encoded_bucre.shape[2:]),
            mask_bucr.reshape(batch * num_chunks, *mask_bucr.shape[2:]),
            offset=m - 1,
        ).reshape(batch, num_chunks * m, d_model)
        return added(x_btd, jnp.pad(mixed, ((0, 0), (m - 1, 0), (0, 0)))[:, :length])

    @hk.name_like("__call__")
    def memory(self, encoded_bcre: jax.Array) -> Past:
        """What `step` needs of the neighbours of one chunk, [B, k, r, E]."""
        return CrossAttention(*self.attention).memory(encoded_bcre)

    @hk.name_like("__call__")
    def distances(self, num_keys: int, like: jax.Array) -> jax.Array | None:
        """What `step` needs of the parameters alone. like: an array as wide as x, and of its type."""
        return CrossAttention(*self.attention).distances(self.chunk, num_keys, self.chunk - 1, like)

    @hk.name_like("__call__")
    def step(
        self, x_btd: jax.Array, memory: Past, distances_nhk: jax.Array | None, mask_bcr: jax.Array,
        first: jax.Array,
    ) -> jax.Array:  # fmt: skip
        """`__call__` for tokens first … first + T − 1 of one attending chunk."""
        normed = NORMS[self.norm](name="norm")(x_btd)
        return x_btd + CrossAttention(*self.attention).step(normed, memory, distances_nhk, mask_bcr, first)
