"""Feed-forward layers: PaLM's SwiGLU and Gopher's two-matrix form."""

import haiku as hk
import jax

from models.layers.axes import MLP, share
from models.layers.linear import linear

ACTIVATIONS = {"gelu": jax.nn.gelu, "relu": jax.nn.relu}


class SwiGLU(hk.Module):
    """(Swish(xW) · xV) W_out, three matrices of the full width (Shazeer 2020; PaLM section 2)."""

    def __init__(self, d_ff: int, name: str = "swiglu"):
        super().__init__(name=name)
        self.d_ff = d_ff

    def __call__(self, x_btd: jax.Array) -> jax.Array:
        d_ff = share(self.d_ff, MLP)
        hidden = jax.nn.silu(linear(d_ff, "gate")(x_btd)) * linear(d_ff, "up")(x_btd)
        return linear(x_btd.shape[-1], "down")(hidden)


class FeedForward(hk.Module):
    """activation(xW) W_out (Gopher section 2.1, after GPT-2)."""

    def __init__(self, d_ff: int, activation: str, output_scale: float = 1.0, name: str = "feed_forward"):
        super().__init__(name=name)
        self.d_ff, self.activation, self.output_scale = d_ff, ACTIVATIONS[activation], output_scale

    def __call__(self, x_btd: jax.Array) -> jax.Array:
        hidden = self.activation(linear(share(self.d_ff, MLP), "up")(x_btd))
        return linear(x_btd.shape[-1], "down", self.output_scale)(hidden)
