"""Gopher: a GPT-2 decoder with RMSNorm and Transformer-XL's relative positions (arXiv 2112.11446, section
2.1).
"""

from functools import partial

from models.decoder import Model
from models.dense import DecoderOperators, attending, decoder_operators, dense_decoder, positionwise
from models.gopher.config import GopherConfig
from models.layers.attention import CausalAttention
from models.layers.feed_forward import FeedForward
from models.layers.norms import NORMS


def gopher(config: GopherConfig) -> Model:
    """The model of `config`: attention and feed-forward in series, depth times."""
    return dense_decoder(config, gopher_operators(config))


def gopher_operators(config: GopherConfig) -> DecoderOperators:
    """Pre-norm residual operators, without biases.

    The paper is silent on initialisation. Embeddings are N(0, 1/√d_model) and multiplied by √d_model on the
    way in, so that inputs and logits start at unit scale; what enters the residual stream is scaled by
    1/√(2L) (GPT-2), so that it stays there.
    """
    residual_scale = (2 * config.num_layers) ** -0.5
    root = config.d_model**0.5
    norm = partial(NORMS[config.norm], name="norm")

    def attention():
        return CausalAttention(
            config.num_heads, config.head_size, "multi_head", config.positions, config.max_length,
            residual_scale,
        )  # fmt: skip

    def mlp(x_btd):
        return FeedForward(config.d_ff, config.activation, residual_scale)(x_btd)

    residuals = {"attention": attending(norm, attention), "feed_forward": positionwise(norm, mlp)}
    return decoder_operators(config, norm, residuals, std=1 / root, input_scale=root)
