"""RETRO: a dense decoder, a neighbour encoder, and chunked cross-attention in some layers (arXiv 2112.04426,
algorithm 1).

The decoder's parameters have the dense model's names and shapes; without neighbours this *is* the dense
model, bit for bit. In Gopher's block, and PaLM's serial one, cross-attention stands between attention and
feed-forward, as published; PaLM's parallel block has no such place, so there it follows the block.
"""

import jax
import jax.numpy as jnp

from models.decoder import Carry, Model
from models.dense import dense_decoder
from models.depth import Depth, Inserted
from models.retro.cached_step import cached
from models.retro.config import RETROConfig
from models.retro.copying import copying_initialisation
from models.retro.encoder import init_encoder
from models.retro.operators import RETROOperators, encode, neighbours_read, retro_operators
from models.stack import init_stack


def retro(config: RETROConfig) -> Model:
    """The model of `config`. `apply` with nothing beside the tokens is retrieval-off."""
    decoder, ops = config.decoder, retro_operators(config)
    dense = dense_decoder(decoder, ops.decoder)
    inserted = inserted_cross_attention(config, ops)
    depth = Depth(ops.decoder.residuals, decoder.num_layers, decoder.remat, inserted)

    def init(key):
        keys = jax.random.split(key, 4)
        x_btd = jnp.zeros((1, config.chunk, decoder.d_model))
        encoded, mask = jnp.zeros((1, 1, 1, 1, config.encoder_d_model)), jnp.ones((1, 1, 1, 1), bool)
        params = {
            **dense.init(keys[0]),
            "cca": init_stack(ops.cca, keys[1], len(config.cca_layers), x_btd, encoded, mask),
            "encoder": init_encoder(ops.encoder, config, keys[2]),
        }
        if config.cca_initialisation == "copying":
            return copying_initialisation(params, config, keys[3])
        return params

    def run(taken, carry, start, stop, beside=None):
        if beside is None or beside.tokens.shape[1] == 0:
            return dense.run(taken, carry, start, stop)
        return depth.run(taken, carry, start, stop, neighbours_read(config, beside))

    def hidden(params, tokens_bt, beside=None):
        everything = 0, decoder.num_layers
        carry = Carry(dense.embed(params, tokens_bt))
        return run(depth.take(params, *everything), carry, *everything, beside).x

    cache, step = cached(config, ops, dense, depth)
    return Model(config, init, hidden, dense.unembed, dense.embed, dense.layers, depth.take, run, cache, step)


def inserted_cross_attention(config: RETROConfig, ops: RETROOperators) -> Inserted:
    """ATTN, CCA, FFW; the first such layer encodes the neighbours in between."""

    def attend(params, carry, neighbours):
        return carry._replace(x=ops.cca.apply(params, carry.x, carry.encoded, neighbours.mask))

    def encode_all(params, x_btd, neighbours):
        batch, num_chunks, m = x_btd.shape[0], neighbours.tokens.shape[1], config.chunk
        chunks_bumd = x_btd[:, : num_chunks * m].reshape(batch, num_chunks, m, -1)
        return encode(config, ops, params, neighbours, chunks_bumd)

    first = next(iter(ops.decoder.residuals))
    return Inserted("cca", config.cca_layers, first, attend, encode_all, ("encoder", "embedding"))
