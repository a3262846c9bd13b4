"""Gopher: a GPT-2 decoder with RMSNorm and Transformer-XL's relative positions (arXiv 2112.11446, section
2.1).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from models.decoder import Model, Operator, init_stack, operator, scan_layers
from models.gopher.config import GopherConfig
from models.layers.attention import CausalRelativeAttention
from models.layers.axes import BATCH, EMBED, LENGTH, constrain
from models.layers.embedding import Embedding
from models.layers.feed_forward import FeedForward
from models.layers.norms import NORMS


class GopherOperators(NamedTuple):
    """The operators of the decoder, by the names that their parameters have; RETRO's decoder is made of the
    same.
    """

    embedding: Operator
    attention: Operator
    feed_forward: Operator
    final_norm: Operator
    score: Operator  # shares `embedding`'s parameters


def gopher_operators(config: GopherConfig) -> GopherOperators:
    """Pre-norm residual operators, without biases.

    The paper is silent on initialisation. Embeddings are N(0, 1/√d_model) and multiplied by √d_model on the
    way in, so that inputs and logits start at unit scale; what enters the residual stream is scaled by
    1/√(2L) (GPT-2), so that it stays there.
    """
    residual_scale = (2 * config.num_layers) ** -0.5
    root = config.d_model**0.5

    def norm():
        return NORMS[config.norm](name="norm")

    def embedding():
        return Embedding(config.vocab_size, config.d_model, std=1 / root, input_scale=root)

    def attention(x_btd):
        attend = CausalRelativeAttention(config.num_heads, config.head_size, residual_scale)
        return constrain(x_btd + attend(norm()(x_btd)), BATCH, LENGTH, EMBED)

    def feed_forward(x_btd):
        mlp = FeedForward(config.d_ff, config.activation, residual_scale)
        return constrain(x_btd + mlp(norm()(x_btd)), BATCH, LENGTH, EMBED)

    return GopherOperators(
        embedding=operator(lambda tokens_bt: embedding().embed(tokens_bt)),
        attention=operator(attention),
        feed_forward=operator(feed_forward),
        final_norm=operator(lambda x_btd: norm()(x_btd)),
        score=operator(lambda x_btd: embedding().unembed(x_btd)),
    )


def gopher(config: GopherConfig) -> Model:
    """The model of `config`: attention and feed-forward in series, depth times."""
    ops = gopher_operators(config)

    def init(key):
        keys = jax.random.split(key, 4)
        tokens_bt, x_btd = jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1, config.d_model))
        return {
            "embedding": ops.embedding.init(keys[0], tokens_bt),
            "attention": init_stack(ops.attention, keys[1], config.num_layers, x_btd),
            "feed_forward": init_stack(ops.feed_forward, keys[2], config.num_layers, x_btd),
            "final_norm": ops.final_norm.init(keys[3], x_btd),
        }

    def layers(params, x_btd, start, stop):
        def body(layer, x):
            return ops.feed_forward.apply(layer["feed_forward"], ops.attention.apply(layer["attention"], x))

        stack = {name: params[name] for name in ("attention", "feed_forward")}
        return scan_layers(body, stack, x_btd, start, stop, config.remat)

    def embed(params, tokens_bt):
        return ops.embedding.apply(params["embedding"], tokens_bt)

    def unembed(params, x_btd):
        return ops.score.apply(params["embedding"], ops.final_norm.apply(params["final_norm"], x_btd))

    def apply(params, tokens_bt, neighbours=None):
        del neighbours  # a dense model: the argument is there so that every family is called alike
        return unembed(params, layers(params, embed(params, tokens_bt), 0, config.num_layers))

    return Model(config, init, apply, embed, unembed, layers)
