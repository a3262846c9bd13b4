"""The embedding: rows look tokens up on the way in and, where tied, score them on the way out."""

import haiku as hk
import jax
import jax.numpy as jnp

from models.layers.axes import BATCH, EMBED, LENGTH, VOCAB, constrain


class Embedding(hk.Module):
    """One matrix [V, D], drawn from N(0, std), for input and output.

    The input is multiplied by `input_scale` and the logits by `output_scale`, so that both start at unit
    scale whichever of
    the two conventions a family follows: N(0, 1) with logits / √D (PaLM section 5), or N(0, 1/√D) with inputs
    · √D (Vaswani et al. 2017).
    """

    def __init__(
        self, vocab_size: int, d_model: int, std: float, input_scale: float, output_scale: float = 1.0,
        name: str = "embedding",
    ):  # fmt: skip
        super().__init__(name=name)
        self.shape = (vocab_size, d_model)
        self.init = hk.initializers.RandomNormal(std)
        self.input_scale, self.output_scale = input_scale, output_scale

    def _table(self) -> jax.Array:
        return hk.get_parameter("table", self.shape, init=self.init)

    def embed(self, tokens_bt: jax.Array) -> jax.Array:
        """[B, T] ids -> [B, T, D]."""
        return constrain(self._table()[tokens_bt] * self.input_scale, BATCH, LENGTH, EMBED)

    def unembed(self, x_btd: jax.Array) -> jax.Array:
        """[B, T, D] -> logits [B, T, V] in float32."""
        logits = jnp.einsum("btd,vd->btv", x_btd, self._table(), preferred_element_type=jnp.float32)
        return constrain(logits * self.output_scale, BATCH, LENGTH, VOCAB)
