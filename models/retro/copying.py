"""A copying initialisation for RETRO, ours and not the paper's: the same model, started able to read.

A decoder uses a neighbour by finding its own last token there and predicting what came next: an induction
circuit, which a small model does not form within a laptop's budget when every matrix starts at random. Here
the circuit is laid into the initial weights, of the same shapes as published:

1. The neighbour encoder's first self-attention looks one token back (its position term peaks at distance 1,
   its content term starts at zero) and adds the previous token's embedding, turned by a fixed orthogonal
   matrix.
2. CCA's keys turn it back and compare it with the query, the decoder's own token; values carry the
   neighbour's token itself; the output writes it into the residual stream, where the tied embedding scores
   it.

Encoder and decoder must speak of tokens in the same space, also while the embedding moves: the
initialisation needs `encoder_embedding="shared"`, and a decoder whose embeddings are tied.
"""

import jax
import jax.numpy as jnp

from errors import InputError
from models.decoder import Params
from models.layers.positions import sinusoids
from models.retro.config import RETROConfig

PREVIOUS_TOKEN_SHARPNESS = 8.0  # gap in logits between distance 1 and its neighbours, about
MATCH_SHARPNESS = 3.0  # CCA logits start at this many times their natural scale
OUTPUT_SCALE = 0.5  # what is read, relative to a token's own embedding


def copying_initialisation(params: Params, config: RETROConfig, key: jax.Array) -> Params:
    """`params` with encoder and CCA set for copying; shapes and the decoder stay as they are."""
    if config.encoder_embedding != "shared":
        raise InputError(
            f"The copying initialisation needs encoder_embedding='shared', not {config.encoder_embedding!r}."
        )
    if "output" in params["embedding"]["embedding"]:
        raise InputError(
            "The copying initialisation needs a decoder with embeddings='tied', which score what is read."
        )
    keys = jax.random.split(key, 3)
    width, d_model = config.encoder_d_model, config.decoder.d_model
    project_de = _orthogonal(keys[0], d_model, width)  # decoder space -> encoder space
    turn_ee = _orthogonal(keys[1], width, width)
    return {
        **params,
        "encoder": _look_back(params["encoder"], config, project_de, turn_ee),
        "cca": _match_and_copy(params["cca"], config, project_de, turn_ee, keys[2]),
    }


def _orthogonal(key, rows, columns):
    """[rows, columns] with orthonormal columns, or rows where there are fewer of them."""
    return jax.nn.initializers.orthogonal()(key, (rows, columns), jnp.float32)


def _look_back(encoder: Params, config: RETROConfig, project_de: jax.Array, turn_ee: jax.Array) -> Params:
    heads, size, width = config.encoder_num_heads, config.encoder_head_size, config.encoder_d_model
    # The shortest wavelengths tell distance 1 from 0 and 2: each head reads sines and cosines of those alone.
    pairs = min(size // 2, width // 2)
    select = jnp.zeros((width, size)).at[jnp.arange(pairs), jnp.arange(pairs)].set(1.0)
    select = select.at[width // 2 + jnp.arange(pairs), pairs + jnp.arange(pairs)].set(1.0)
    one_back = sinusoids(jnp.ones((1,)), width)[0] @ select
    look_back = jnp.tile(PREVIOUS_TOKEN_SHARPNESS * size**0.5 * one_back, (heads, 1))

    first = {
        "multi_head_attention": {"u": jnp.zeros((heads, size)), "v": look_back},
        "multi_head_attention/query": {"w": jnp.zeros((width, heads * size))},
        "multi_head_attention/relative": {"w": jnp.tile(select, (1, heads))},
        "multi_head_attention/value": {"w": turn_ee @ jnp.eye(width, heads * size)},
        "multi_head_attention/output": {"w": jnp.eye(heads * size, width)},
    }
    quiet = ("cross_attention", "feed_forward")  # start as the identity, learn from there
    return {
        **encoder,
        **{name: _without_output(encoder[name]) for name in quiet if name in encoder},
        "attention": _set_layer(_without_output(encoder["attention"]), 0, first),
        "embedding": {"projection": {"w": project_de}},
    }


def _match_and_copy(
    cca: Params, config: RETROConfig, project_de: jax.Array, turn_ee: jax.Array, key: jax.Array
) -> Params:
    width, d_model = config.encoder_d_model, config.decoder.d_model
    inner = config.decoder.num_heads * config.decoder.head_size
    spread_ei = _orthogonal(key, width, inner)
    settings = {
        "cca/multi_head_attention/query": MATCH_SHARPNESS * project_de @ spread_ei,
        "cca/multi_head_attention/key": turn_ee.T @ spread_ei,
        "cca/multi_head_attention/value": spread_ei,
        "cca/multi_head_attention/output": OUTPUT_SCALE * spread_ei.T @ project_de.T,
        "cca/multi_head_attention/relative": jnp.zeros((d_model, inner)),
    }
    depth = len(config.cca_layers)
    return {**cca, **{name: {"w": jnp.tile(w, (depth, 1, 1))} for name, w in settings.items() if name in cca}}


def _without_output(stack: Params) -> Params:
    silent = ("output", "down")
    return {
        path: jax.tree.map(jnp.zeros_like, leaves) if path.endswith(silent) else leaves
        for path, leaves in stack.items()
    }


def _set_layer(stack: Params, index: int, values: Params) -> Params:
    """`stack` with the leaves that `values` names set at one layer."""
    return {
        path: {
            name: leaf.at[index].set(values[path][name]) if path in values else leaf
            for name, leaf in leaves.items()
        }
        for path, leaves in stack.items()
    }
