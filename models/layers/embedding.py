"""The embedding: rows look tokens up on the way in and, where tied, score them on the way out."""

import haiku as hk
import jax
import jax.numpy as jnp

from errors import InputError
from models.layers.axes import BATCH, EMBED, LENGTH, VOCAB, constrain


class Embedding(hk.Module):
    """One matrix [V, D], drawn from N(0, std), for input and output.

    The input is multiplied by `input_scale` and the logits by `output_scale`, so that both start at unit
    scale whichever of the two conventions a family follows: N(0, 1) with logits / √D (PaLM section 5), or
    N(0, 1/√D) with inputs · √D (Vaswani et al. 2017).

    learned_positions: rows of a second table, drawn alike, that is added by position; 0 for none.
    """

    def __init__(
        self, vocab_size: int, d_model: int, std: float, input_scale: float, output_scale: float = 1.0,
        learned_positions: int = 0, name: str = "embedding",
    ):  # fmt: skip
        super().__init__(name=name)
        self.shape = (vocab_size, d_model)
        self.init = hk.initializers.RandomNormal(std)
        self.input_scale, self.output_scale = input_scale, output_scale
        self.learned_positions = learned_positions

    @hk.transparent
    def _table(self) -> jax.Array:
        return hk.get_parameter("table", self.shape, init=self.init)

    def embed(self, tokens_bt: jax.Array, position: int | jax.Array = 0) -> jax.Array:
        """[B, T] ids, the first of them at `position`, -> [B, T, D].

        Raises:
          InputError: more tokens than there are learned positions.
        """
        x_btd = self._table()[tokens_bt]
        if self.learned_positions:
            length = tokens_bt.shape[1]
            if length > self.learned_positions:
                raise InputError(
                    f"{length} tokens are more than the {self.learned_positions} learned positions of this "
                    "model. Give a shorter sequence, or a configuration with a larger max_length."
                )
            shape = (self.learned_positions, self.shape[1])
            table = hk.get_parameter("positions", shape, init=self.init)
            x_btd += jax.lax.dynamic_slice_in_dim(table, position, length)[None]
        return constrain(x_btd * self.input_scale, BATCH, LENGTH, EMBED)

    def unembed(self, x_btd: jax.Array) -> jax.Array:
        """[B, T, D] -> logits [B, T, V] in float32."""
        scaled = x_btd * self.output_scale  # here and not on the logits, which are V/D times as many
        logits = jnp.einsum("btd,vd->btv", scaled, self._table(), preferred_element_type=jnp.float32)
        return constrain(logits, BATCH, LENGTH, VOCAB)
