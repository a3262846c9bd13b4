"""RETRO: Gopher's decoder, a neighbour encoder, and chunked cross-attention in some layers (arXiv 2112.04426,
algorithm 1).

The decoder's parameters have the dense model's names and shapes; without neighbours this *is* the dense
model, bit for bit.
"""

import jax
import jax.numpy as jnp

from models.decoder import Model, init_stack, layer, operator, rematerialised
from models.gopher.model import gopher, gopher_operators
from models.layers.axes import BATCH, EMBED, LENGTH, constrain
from models.retro.chunked_cross_attention import ChunkedCrossAttention
from models.retro.config import RETROConfig
from models.retro.copying import copying_initialisation
from models.retro.encoder import encode_neighbours, encoder_operators, init_encoder

CCA_INITIALISATIONS = {"published": lambda params, config, key: params, "copying": copying_initialisation}


def retro(config: RETROConfig) -> Model:
    """The model of `config`. `apply` with neighbours=None is retrieval-off."""
    decoder = config.decoder
    dense = gopher(decoder)
    ops = gopher_operators(decoder)
    encoder = encoder_operators(config)

    def cca_block(x_btd, encoded_bucre, mask_bucr):
        scale = (2 * decoder.num_layers) ** -0.5
        attend = ChunkedCrossAttention(
            decoder.num_heads, decoder.head_size, config.chunk, decoder.norm, scale
        )
        return constrain(attend(x_btd, encoded_bucre, mask_bucr), BATCH, LENGTH, EMBED)

    cca = operator(cca_block)

    def init(key):
        keys = jax.random.split(key, 4)
        x_btd = jnp.zeros((1, config.chunk, decoder.d_model))
        encoded, mask = jnp.zeros((1, 1, 1, 1, config.encoder_d_model)), jnp.ones((1, 1, 1, 1), bool)
        params = {
            **dense.init(keys[0]),
            "cca": init_stack(cca, keys[1], len(config.cca_layers), x_btd, encoded, mask),
            "encoder": init_encoder(encoder, config, keys[2]),
        }
        return CCA_INITIALISATIONS[config.cca_initialisation](params, config, keys[3])

    def encode(params, neighbours, x_btd):
        """Runs the encoder on the activations of the chunks that did the retrieving."""
        num_chunks = neighbours.tokens.shape[1]
        chunks = x_btd[:, : num_chunks * config.chunk].reshape(x_btd.shape[0], num_chunks, config.chunk, -1)
        return encode_neighbours(
            encoder, config, params["encoder"], neighbours, chunks, lambda tokens: dense.embed(params, tokens)
        )

    def retrieving_layer(params, x_btd, encoded, neighbours):
        """ATTN, CCA, FFW; the first such layer encodes the neighbours in between."""
        x_btd = ops.attention.apply(params["attention"], x_btd)
        if encoded is None:
            encoded = encode(params, neighbours, x_btd)
        x_btd = cca.apply(params["cca"], x_btd, encoded, neighbours.mask)
        return ops.feed_forward.apply(params["feed_forward"], x_btd), encoded

    retrieving_layer = rematerialised(retrieving_layer, decoder.remat)

    def apply(params, tokens_bt, neighbours=None):
        if neighbours is None or neighbours.tokens.shape[1] == 0:
            return dense.apply(params, tokens_bt)
        x_btd, done, encoded = dense.embed(params, tokens_bt), 0, None
        for index, number in enumerate(config.cca_layers):
            x_btd = dense.layers(params, x_btd, done, number - 1)
            here = {
                "attention": layer(params["attention"], number - 1),
                "cca": layer(params["cca"], index),
                "feed_forward": layer(params["feed_forward"], number - 1),
                "encoder": params["encoder"],
                "embedding": params["embedding"],
            }
            x_btd, encoded = retrieving_layer(here, x_btd, encoded, neighbours)
            done = number
        return dense.unembed(params, dense.layers(params, x_btd, done, decoder.num_layers))

    return Model(config, init, apply, dense.embed, dense.unembed, dense.layers)
