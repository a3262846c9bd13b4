"""PaLM: a decoder of parallel blocks (arXiv 2204.02311, section 2), and the forms it is compared with."""

from functools import partial

from models.decoder import Model
from models.dense import DecoderOperators, attending, decoder_operators, dense_decoder, positionwise
from models.layers.attention import CausalAttention
from models.layers.feed_forward import FeedForward, SwiGLU
from models.layers.norms import NORMS
from models.palm.config import PaLMConfig


def palm(config: PaLMConfig) -> Model:
    """The model of `config`."""
    return dense_decoder(config, palm_operators(config))


def palm_operators(config: PaLMConfig) -> DecoderOperators:
    """No biases anywhere; embeddings N(0, 1), with logits / √d_model (section 5)."""

    norm = partial(NORMS[config.norm], name="norm")

    def attention():
        return CausalAttention(
            config.num_heads, config.head_size, config.attention, config.positions, config.max_length
        )

    def mlp(x_btd):
        if config.feed_forward == "swiglu":
            return SwiGLU(config.d_ff)(x_btd)
        return FeedForward(config.d_ff, config.feed_forward)(x_btd)

    residuals = {
        "parallel": {"parallel_block": attending(norm, attention, parallel=mlp)},
        "serial": {"attention": attending(norm, attention), "feed_forward": positionwise(norm, mlp)},
    }
    return decoder_operators(
        config, norm, residuals[config.block], std=1.0, input_scale=1.0, output_scale=config.d_model**-0.5,
        tied=config.embeddings == "tied",
    )  # fmt: skip
