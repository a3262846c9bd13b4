"""PaLM: a decoder of parallel blocks (arXiv 2204.02311, section 2), and the forms it is compared with."""

from models.decoder import Model, operator
from models.dense import DecoderOperators, attending, dense_decoder, positionwise
from models.layers.attention import CausalAttention
from models.layers.axes import BATCH, LENGTH, STREAM, VOCAB, whole
from models.layers.embedding import Embedding
from models.layers.feed_forward import FeedForward, SwiGLU
from models.layers.norms import NORMS
from models.palm.config import PaLMConfig


def palm(config: PaLMConfig) -> Model:
    """The model of `config`."""
    return dense_decoder(config, palm_operators(config))


def palm_operators(config: PaLMConfig) -> DecoderOperators:
    """No biases anywhere; embeddings N(0, 1), with logits / √d_model (section 5)."""

    def norm():
        return NORMS[config.norm](name="norm")

    def embedding():
        learned = config.max_length if config.positions == "learned" else 0
        return Embedding(
            config.vocab_size, config.d_model, std=1.0, input_scale=1.0, output_scale=config.d_model**-0.5,
            learned_positions=learned, tied=config.embeddings == "tied", vocab_multiple=config.vocab_multiple,
        )  # fmt: skip

    def attention():
        return CausalAttention(
            config.num_heads, config.head_size, config.attention, config.positions, config.max_length
        )

    def mlp(x_btd):
        if config.feed_forward == "swiglu":
            return SwiGLU(config.d_ff)(x_btd)
        return FeedForward(config.d_ff, config.feed_forward)(x_btd)

    residuals = {
        "parallel": {"parallel_block": attending(norm, attention, beside=mlp)},
        "serial": {"attention": attending(norm, attention), "feed_forward": positionwise(norm, mlp)},
    }
    return DecoderOperators(
        embedding=operator(
            lambda tokens_bt, position: embedding().embed(tokens_bt, position), (BATCH, LENGTH), ()
        ),
        residuals=residuals[config.block],
        final_norm=operator(lambda x_btd: norm()(x_btd)),
        score=operator(
            lambda x_btd: embedding().unembed(norm()(whole(x_btd))), STREAM, output=(BATCH, LENGTH, VOCAB)
        ),
    )
