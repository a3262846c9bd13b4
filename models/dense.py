"""A dense decoder: an embedding, residual operators repeated over depth, a final norm and logits.

PaLM and Gopher are two choices of operators; RETRO's decoder is either.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from models.decoder import Model, Operator, Residual, operator
from models.depth import Depth
from models.layers.attention import CausalAttention
from models.layers.axes import BATCH, LENGTH, STREAM, VOCAB, added, whole
from models.layers.embedding import Embedding
from models.stack import init_stack


def attending(
    norm: Callable[[], hk.Module],
    attention: Callable[[], CausalAttention],
    parallel: Callable[[jax.Array], jax.Array] | None = None,
) -> Residual:
    """x + attention(norm(x)), and in a parallel block + parallel(norm(x)), one norm for both.

    norm, attention: make the module, inside a Haiku transform.
    """

    def total(x_btd, normed, attended):
        return added(x_btd, *([] if parallel is None else [parallel(normed)]), attended)

    def sequence(x_btd):
        normed = norm()(whole(x_btd))
        return total(x_btd, normed, attention()(normed))

    def step(x_btd, past, position):
        normed = norm()(x_btd)
        attended, added = attention().step(normed, past, position)
        return total(x_btd, normed, attended), added

    past = operator(lambda x_btd, length: attention().past(x_btd, length))
    return Residual(operator(sequence, STREAM), past, operator(step))


def positionwise(norm: Callable[[], hk.Module], function: Callable[[jax.Array], jax.Array]) -> Residual:
    """x + function(norm(x)), in which no position needs another."""

    def sequence(x_btd):
        return added(x_btd, function(norm()(whole(x_btd))))

    return Residual(
        operator(sequence, STREAM),
        past=operator(lambda x_btd, length: {}),
        step=operator(lambda x_btd, past, position: (sequence(x_btd), {})),
    )


class DecoderOperators(NamedTuple):
    """What a dense decoder is made of, by the names that its parameters have; RETRO's is made of the same.

    embedding: (tokens [B, T], position of the first) -> [B, T, D].
    residuals: the residual operators of a layer in their order.
    score: [B, T, D] -> logits, by the parameters of final_norm and embedding together.
    """

    embedding: Operator
    residuals: Mapping[str, Residual]
    final_norm: Operator
    score: Operator


def decoder_operators(
    config: Any, norm: Callable[[], hk.Module], residuals: Mapping[str, Residual], **scales: Any
) -> DecoderOperators:
    """The operators of a decoder with these residuals.

    norm: makes the module, inside a Haiku transform.
    scales: how the embedding is drawn, scaled and tied; see `Embedding`.
    """

    def embedding():
        learned = config.max_length if config.positions == "learned" else 0
        return Embedding(
            config.vocab_size, config.d_model, learned_positions=learned,
            vocab_multiple=config.vocab_multiple, **scales,
        )  # fmt: skip

    def embed(tokens_bt, position):
        return embedding().embed(tokens_bt, position)

    def score(x_btd):
        return embedding().unembed(norm()(whole(x_btd)))

    return DecoderOperators(
        operator(embed, (BATCH, LENGTH), ()),
        residuals,
        operator(lambda x_btd: norm()(x_btd)),
        operator(score, STREAM, output=(BATCH, LENGTH, VOCAB)),
    )


def dense_decoder(config: Any, ops: DecoderOperators) -> Model:
    """The model that runs `ops.residuals` config.num_layers times."""
    depth = Depth(ops.residuals, config.num_layers, config.remat)

    def init(key):
        keys = jax.random.split(key, 2 + len(ops.residuals))
        tokens_bt, x_btd = jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1, config.d_model))
        stacks = {
            name: init_stack(residual.whole, key, config.num_layers, x_btd)
            for (name, residual), key in zip(ops.residuals.items(), keys[1:])
        }
        return {
            "embedding": ops.embedding.init(keys[0], tokens_bt, 0),
            **stacks,
            "final_norm": ops.final_norm.init(keys[-1], x_btd),
        }

    def embed(params, tokens_bt, position=0):
        return ops.embedding.apply(params["embedding"], tokens_bt, position)

    def unembed(params, x_btd):
        return ops.score.apply({**params["embedding"], **params["final_norm"]}, x_btd)

    # A dense model has no use for what rides beside the tokens: every family is called alike.
    def hidden(params, tokens_bt, beside=None):
        return depth.plain(params, embed(params, tokens_bt), 0, config.num_layers)

    def cache(params, batch, length):
        x_btd = jnp.zeros((batch, 1, config.d_model), params["embedding"]["embedding"]["table"].dtype)

        def past(residual):
            return jax.vmap(lambda layer: residual.past.apply(layer, x_btd, length))

        empty = {name: past(residual)(params[name]) for name, residual in ops.residuals.items()}
        return {"position": jnp.zeros((), jnp.int32), "layers": empty}

    def step(params, cache, tokens_bt, beside=None):
        position = cache["position"]
        x_btd = embed(params, tokens_bt, position)
        x_btd, layers, _ = depth.step(params, cache["layers"], x_btd, position)
        return unembed(params, x_btd), {"position": position + tokens_bt.shape[1], "layers": layers}

    return Model(config, init, hidden, unembed, embed, depth.plain, depth.take, depth.run, cache, step)
