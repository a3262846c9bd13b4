"""The embedding: rows look tokens up on the way in and score them on the way out."""

import haiku as hk
import jax
import jax.numpy as jnp

from errors import InputError
from models.layers.axes import VOCAB, first_of_share, own_slice, share, summed
from models.layers.masking import MASKED


class Embedding(hk.Module):
    """One matrix [V, D], drawn from N(0, std), for input and output; or where not tied, one for each.

    The input is multiplied by `input_scale` and the logits by `output_scale`, so that both start at unit
    scale whichever of the two conventions a family follows: N(0, 1) with logits / √D (PaLM section 5), or
    N(0, 1/√D) with inputs · √D (Vaswani et al. 2017).

    learned_positions: rows of a second table, drawn alike, that is added by position; 0 for none.
    tied: whether the table that looks tokens up scores them too, or a matrix `output`, drawn alike, does.
    vocab_multiple: both have as many rows as a multiple of this that holds the vocabulary, for a mesh that
    does not divide the vocabulary itself. Rows beyond it are zero, never looked up, and never predicted.
    """

    def __init__(
        self, vocab_size: int, d_model: int, std: float, input_scale: float, output_scale: float = 1.0,
        learned_positions: int = 0, tied: bool = True, vocab_multiple: int = 1, name: str = "embedding",
    ):  # fmt: skip
        super().__init__(name=name)
        self.vocab_size, self.d_model = vocab_size, d_model
        self.rows = -(-vocab_size // vocab_multiple) * vocab_multiple
        self.init = hk.initializers.RandomNormal(std)
        self.input_scale, self.output_scale = input_scale, output_scale
        self.learned_positions, self.tied = learned_positions, tied

    @hk.transparent
    def _table(self) -> jax.Array:
        return self._by_token("table")

    @hk.transparent
    def _output(self) -> jax.Array:
        return self._table() if self.tied else self._by_token("output")

    @hk.transparent
    def _by_token(self, name):
        return hk.get_parameter(name, (share(self.rows, VOCAB), self.d_model), init=self._drawn)

    def _drawn(self, shape, dtype):
        """The vocabulary's rows are the same with and without others after them."""
        drawn = self.init((self.vocab_size, self.d_model), dtype)
        return jnp.pad(drawn, ((0, shape[0] - self.vocab_size), (0, 0)))

    def embed(self, tokens_bt: jax.Array, position: int | jax.Array = 0) -> jax.Array:
        """[B, T] ids, the first of them at `position`, -> [B, T, D].

        Raises:
          InputError: more tokens than there are learned positions.
        """
        x_btd = summed(self._rows(tokens_bt))
        if self.learned_positions:
            length = tokens_bt.shape[1]
            if length > self.learned_positions:
                raise InputError(
                    f"{length} tokens are more than the {self.learned_positions} learned positions of this "
                    "model. Give a shorter sequence, or a configuration with a larger max_length."
                )
            shape = (self.learned_positions, self.d_model)
            table = hk.get_parameter("positions", shape, init=self.init)
            x_btd += own_slice(jax.lax.dynamic_slice_in_dim(table, position, length)[None])
        if hk.running_init():
            self._output()  # parameters are drawn where they are embedded, what scores included
        return x_btd * self.input_scale

    @hk.transparent
    def _rows(self, tokens_bt):
        """Of the tokens that this device's share of the table holds; zero for the others."""
        table = self._table()
        if len(table) == self.rows:
            return table[tokens_bt]
        own_bt = tokens_bt - first_of_share(len(table), VOCAB)
        return jnp.where(((own_bt >= 0) & (own_bt < len(table)))[..., None], table[own_bt], 0)

    def unembed(self, x_btd: jax.Array) -> jax.Array:
        """[B, T, D] -> logits [B, T, V] in float32."""
        scaled = x_btd * self.output_scale  # here and not on the logits, which are V/D times as many
        output = self._output()
        logits = jnp.einsum("btd,vd->btv", scaled, output, preferred_element_type=jnp.float32)
        if self.rows == self.vocab_size:
            return logits
        ids_v = first_of_share(len(output), VOCAB) + jnp.arange(len(output))
        return jnp.where(ids_v[None, None] < self.vocab_size, logits, MASKED)
