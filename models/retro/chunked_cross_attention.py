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
        attending, keys, mask = self._by_chunk(x_btd, encoded_bucre, mask_bucr)
        mixed = CrossAttention(*self.attention)(attending, keys, mask, offset=self.chunk - 1)
        mixed = mixed.reshape(x_btd.shape[0], -1, mixed.shape[-1])
        length, before = x_btd.shape[1], self.chunk - 1
        return added(x_btd, jnp.pad(mixed, ((0, 0), (before, 0), (0, 0)))[:, :length])

    @hk.name_like("__call__")
    def shares(self, x_btd: jax.Array, encoded_bucre: jax.Array, mask_bucr: jax.Array) -> jax.Array:
        """float32 [B, U, m, H, k]: what part of its attention each query of H⁺_u gives to each neighbour in
        `__call__`, of which it takes the arguments. Queries past the sequence's end mean nothing.
        """
        attending, keys, mask = self._by_chunk(x_btd, encoded_bucre, mask_bucr)
        shares = CrossAttention(*self.attention).shares(attending, keys, mask, offset=self.chunk - 1)
        return shares.reshape(*encoded_bucre.shape[:2], *shares.shape[1:])

    @hk.transparent
    def _by_chunk(self, x_btd, encoded_bucre, mask_bucr):
        """The attending chunks H⁺ of norm(x), [B·U, m, D], and what each attends to."""
        normed, encoded_bucre = NORMS[self.norm](name="norm")(whole(x_btd)), whole(encoded_bucre)
        batch, num_chunks = encoded_bucre.shape[:2]
        attending = normed[:, self.chunk - 1 :]
        missing = num_chunks * self.chunk - attending.shape[1]
        attending = jnp.pad(attending, ((0, 0), (0, missing), (0, 0)))
        return (
            attending.reshape(batch * num_chunks, self.chunk, -1),
            encoded_bucre.reshape(batch * num_chunks, *encoded_bucre.shape[2:]),
            mask_bucr.reshape(batch * num_chunks, *mask_bucr.shape[2:]),
        )

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
