"""The neighbour encoder: reads what was retrieved in the light of the chunk that did it (RETRO section 2.4).

Shape legend beside models.layers': U chunks, M = m tokens of a chunk, C = k neighbours, R = r tokens of a
neighbour, E encoder width, G = B·U·C neighbours as one batch.
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp

from models.decoder import Neighbours, Operator, Params, operator
from models.layers.attention import CrossAttention
from models.layers.axes import BATCH, LENGTH, STREAM, added, own_slice, whole
from models.layers.embedding import Embedding
from models.layers.feed_forward import FeedForward
from models.layers.linear import linear
from models.layers.norms import RMSNorm
from models.retro.config import RETROConfig
from models.stack import init_stack, layer, rematerialised, scan_layers


def encoder_operators(config: RETROConfig) -> dict[str, Operator]:
    """Bidirectional pre-norm operators; `cross_attention` conditions on H_u, the retrieving chunk."""
    width = config.encoder_d_model
    residual_scale = (2 * config.encoder_layers) ** -0.5

    def attend(*inputs):
        heads = CrossAttention(config.encoder_num_heads, config.encoder_head_size, residual_scale)
        return heads(*inputs, offset=0)

    def own_embedding(tokens_gr):
        table = Embedding(
            config.vocab_size, width, std=width**-0.5, input_scale=width**0.5,
            vocab_multiple=config.decoder.vocab_multiple,
        )  # fmt: skip
        return table.embed(tokens_gr)

    def projection(x_grd):
        return own_slice(linear(width, "projection")(whole(x_grd)))

    def attention(e_gre, mask_gr):
        normed = RMSNorm(name="norm")(whole(e_gre))
        return added(e_gre, attend(normed, normed[:, None], mask_gr[:, None]))

    def cross_attention(e_gre, chunk_gmd):
        keys = RMSNorm(name="chunk_norm")(whole(chunk_gmd))[:, None]
        everything = jnp.ones(keys.shape[:3], bool)
        normed = RMSNorm(name="norm")(whole(e_gre))
        return added(e_gre, attend(normed, keys, everything))

    def feed_forward(e_gre):
        mlp = FeedForward(config.encoder_d_ff, config.encoder_activation, residual_scale)
        return added(e_gre, mlp(RMSNorm(name="norm")(whole(e_gre))))

    return {
        "embedding": {
            "own": operator(own_embedding, (BATCH, LENGTH)),
            "shared": operator(projection, STREAM),
        }[config.encoder_embedding],
        "attention": operator(attention, STREAM, (BATCH, LENGTH)),
        "cross_attention": operator(cross_attention, STREAM, STREAM),
        "feed_forward": operator(feed_forward, STREAM),
        "final_norm": operator(lambda e_gre: own_slice(RMSNorm(name="norm")(whole(e_gre))), STREAM),
    }


def init_encoder(ops: Mapping[str, Operator], config: RETROConfig, key: jax.Array) -> Params:
    """Attention and feed-forward for every layer, cross-attention for the first alone, as the counts need;
    none where the encoder is not conditioned on the retrieving chunk.
    """
    keys = jax.random.split(key, 5)
    e_gre = jnp.zeros((1, 1, config.encoder_d_model))
    chunk_gmd = x_grd = jnp.zeros((1, 1, config.decoder.d_model))
    mask_gr, own = jnp.ones((1, 1), bool), config.encoder_embedding == "own"
    params = {
        "embedding": ops["embedding"].init(keys[0], jnp.zeros((1, 1), jnp.int32) if own else x_grd),
        "attention": init_stack(ops["attention"], keys[1], config.encoder_layers, e_gre, mask_gr),
        "feed_forward": init_stack(ops["feed_forward"], keys[3], config.encoder_layers, e_gre),
        "final_norm": ops["final_norm"].init(keys[4], e_gre),
    }
    if config.encoder_conditioned:
        params["cross_attention"] = init_stack(ops["cross_attention"], keys[2], 1, e_gre, chunk_gmd)
    return params


def encode_neighbours(
    ops: Mapping[str, Operator],
    config: RETROConfig,
    params: Params,
    neighbours: Neighbours,
    chunks_bumd: jax.Array,
    decoder_embed: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """E_u = Encoder(Ret(C_u), H_u): [B, U, k, r] tokens and [B, U, m, D] activations -> [B, U, k, r, E].

    decoder_embed: tokens [G, R] -> [G, R, D], what a shared embedding is projected from.
    """
    remat = config.decoder.remat
    batch, num_chunks, k, r = neighbours.tokens.shape
    mask_gr = neighbours.mask.reshape(-1, r)
    chunk_gmd = jnp.repeat(chunks_bumd.reshape(batch * num_chunks, *chunks_bumd.shape[2:]), k, axis=0)
    tokens_gr = neighbours.tokens.reshape(-1, r)
    looked_up = tokens_gr if config.encoder_embedding == "own" else decoder_embed(tokens_gr)
    e_gre = ops["embedding"].apply(params["embedding"], looked_up)

    def body(params, e_gre, condition=lambda e: e):
        e_gre = condition(ops["attention"].apply(params["attention"], e_gre, mask_gr))
        return ops["feed_forward"].apply(params["feed_forward"], e_gre)

    def condition(e_gre):
        if not config.encoder_conditioned:
            return e_gre
        return ops["cross_attention"].apply(layer(params["cross_attention"], 0), e_gre, chunk_gmd)

    stack = {name: params[name] for name in ("attention", "feed_forward")}
    e_gre = rematerialised(partial(body, condition=condition), remat)(layer(stack, 0), e_gre)
    e_gre = scan_layers(body, stack, e_gre, 1, config.encoder_layers, remat)
    return ops["final_norm"].apply(params["final_norm"], e_gre).reshape(batch, num_chunks, k, r, -1)
