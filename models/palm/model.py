"""PaLM: a decoder of parallel blocks (arXiv 2204.02311, section 2)."""

import jax
import jax.numpy as jnp

from models.decoder import Model, init_stack, operator, scan_layers
from models.layers.attention import MultiQueryAttention
from models.layers.axes import BATCH, EMBED, LENGTH, constrain
from models.layers.embedding import Embedding
from models.layers.feed_forward import SwiGLU
from models.layers.norms import NORMS
from models.palm.config import PaLMConfig


def palm(config: PaLMConfig) -> Model:
    """The model of `config`: embeddings N(0, 1) tied with logits / √d_model, no biases anywhere."""

    def embedding():
        scale = config.d_model**-0.5
        return Embedding(config.vocab_size, config.d_model, std=1.0, input_scale=1.0, output_scale=scale)

    def block(x_btd):
        """y = x + MLP(norm(x)) + Attention(norm(x)), one norm for both branches."""
        normed = NORMS[config.norm](name="norm")(x_btd)
        attended = MultiQueryAttention(config.num_heads, config.head_size)(normed)
        return constrain(x_btd + SwiGLU(config.d_ff)(normed) + attended, BATCH, LENGTH, EMBED)

    embed = operator(lambda tokens_bt: embedding().embed(tokens_bt))
    score = operator(lambda x_btd: embedding().unembed(x_btd))
    parallel_block = operator(block)
    final_norm = operator(lambda x_btd: NORMS[config.norm](name="norm")(x_btd))

    def init(key):
        keys = jax.random.split(key, 3)
        tokens_bt, x_btd = jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1, config.d_model))
        return {
            "embedding": embed.init(keys[0], tokens_bt),
            "parallel_block": init_stack(parallel_block, keys[1], config.num_layers, x_btd),
            "final_norm": final_norm.init(keys[2], x_btd),
        }

    def layers(params, x_btd, start, stop):
        return scan_layers(parallel_block.apply, params["parallel_block"], x_btd, start, stop, config.remat)

    def embed_tokens(params, tokens_bt):
        return embed.apply(params["embedding"], tokens_bt)

    def unembed(params, x_btd):
        return score.apply(params["embedding"], final_norm.apply(params["final_norm"], x_btd))

    def apply(params, tokens_bt, neighbours=None):
        del neighbours  # a dense model: the argument is there so that every family is called alike
        return unembed(params, layers(params, embed_tokens(params, tokens_bt), 0, config.num_layers))

    return Model(config, init, apply, embed_tokens, unembed, layers)
