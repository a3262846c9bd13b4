"""What a RETRO is made of: the operators of a decoder and an encoder, and chunked cross-attention."""

from collections.abc import Mapping
from typing import NamedTuple

import jax

from models.decoder import Neighbours, Operator, Params, operator
from models.dense import DecoderOperators
from models.gopher.model import gopher_operators
from models.layers.axes import BATCH, RESIDUAL, STREAM
from models.palm.config import PaLMConfig
from models.palm.model import palm_operators
from models.retro.chunked_cross_attention import ChunkedCrossAttention
from models.retro.config import RETROConfig
from models.retro.encoder import encode_neighbours, encoder_operators


class RETROOperators(NamedTuple):
    """decoder: of its residual operators the first stands before cross-attention, the others after it.

    cca_*: ChunkedCrossAttention's other methods, on the parameters of `cca`.
    """

    decoder: DecoderOperators
    encoder: Mapping[str, Operator]
    cca: Operator
    cca_memory: Operator
    cca_distances: Operator
    cca_step: Operator


def retro_operators(config: RETROConfig) -> RETROOperators:
    """The operators of `config`; the decoder's have the dense model's names and shapes."""
    decoder, by_chunk = config.decoder, (BATCH, None, None, None)
    return RETROOperators(
        palm_operators(decoder) if isinstance(decoder, PaLMConfig) else gopher_operators(decoder),
        encoder_operators(config),
        operator(lambda *inputs: cross_attention(config)(*inputs), STREAM, (*by_chunk, RESIDUAL), by_chunk),
        operator(lambda encoded_bcre: cross_attention(config).memory(encoded_bcre)),
        operator(lambda x_btd: cross_attention(config).distances(config.content_length, x_btd)),
        operator(lambda *inputs: cross_attention(config).step(*inputs)),
    )


def cross_attention(config: RETROConfig) -> ChunkedCrossAttention:
    """The module of one layer, to be made inside a Haiku transform."""
    decoder, scale = config.decoder, (2 * config.decoder.num_layers) ** -0.5
    return ChunkedCrossAttention(
        decoder.num_heads, decoder.head_size, config.chunk, decoder.norm, scale, config.cca_positions
    )


def encode(
    config: RETROConfig, ops: RETROOperators, params: Params, neighbours: Neighbours, chunks_bumd: jax.Array
) -> jax.Array:
    """The neighbours [B, U, k, r, E], read in the light of the chunks that retrieved them.

    params: the model's embedding and encoder. chunks_bumd: their activations [B, U, m, D].
    """

    def embed(tokens_bt):
        return ops.decoder.embedding.apply(params["embedding"], tokens_bt, 0)

    return encode_neighbours(ops.encoder, config, params["encoder"], neighbours, chunks_bumd, embed)


def neighbours_read(config: RETROConfig, neighbours: Neighbours) -> Neighbours:
    """What the configuration reads of [N, F]."""
    return Neighbours(neighbours.tokens[..., config.content], neighbours.mask[..., config.content])
