"""One FLOP accountant for every family, and the utilisation that follows from it.

Convention (PaLM appendix B): a training token costs 6 FLOPs per parameter it is multiplied with, plus 12 · L
· H · K · T for the two products of self-attention over the full (not causal) square. A tied embedding counts
once, as does the one of two that scores. What relative positions add to the products of attention, and
recomputation, do not count: MFU is model FLOPs.

RETRO's additions are counted by the same convention, each parameter times the tokens that pass it: a decoder
token brings k · r / m neighbour tokens through the encoder and through the keys and values of every CCA
layer. The retrieving chunk is read k times over, once beside each neighbour (models/retro/encoder.py).

The papers count W_r, the projection of relative distances, among those parameters (Gopher's 280B), but no
token passes it: it is multiplied with a batch's distances, T of self-attention over T tokens and T + S − 1 of
attention over S keys, forward and for its own gradient, since distances learn nothing. Given a batch size,
that is what is counted. Without one, the convention is the papers'.
"""

from typing import Any, NamedTuple

from models.families import count, parameter_shapes
from models.retro.config import RETROConfig


def train_flops_per_token(
    config: Any, length: int, retrieval: bool = True, batch_size: int | None = None
) -> float:
    """Model FLOPs of forward and backward per decoder token, at sequences of `length` tokens.

    Args:
      retrieval: for RETRO, whether neighbours are read; without, it is its dense decoder.
      batch_size: of sequences, which share W_r's products; None counts W_r as the papers do.
    """
    if not retrieval:
        config = config.decoder
    decoder = config.decoder
    attention = 12 * decoder.num_layers * decoder.num_heads * decoder.head_size * length
    dense = 6 * _multiplied(decoder) + attention
    total = dense + _retrieval_flops_per_token(config) if config.retrieves else dense
    if batch_size is None:
        return total
    projections = _projections(config, length)
    counted = sum(6 * w_r.parameters * w_r.tokens for w_r in projections)
    computed = sum(4 * w_r.parameters * w_r.distances for w_r in projections)
    return total - counted + computed / (batch_size * length)


def mfu(tokens_per_second: float, flops_per_token: float, peak_flops: float) -> float:
    """Model FLOPs utilisation (PaLM appendix B) as a fraction: model FLOP/s over the peak of all devices.

    Steps/s with FLOPs per step will do as well. With the recomputed FLOPs counted too it is HFU.
    """
    return tokens_per_second * flops_per_token / peak_flops


def _multiplied(config: Any) -> int:
    """Parameters that a dense model's tokens are multiplied with: all but learned positions, which add, and a
    table that only looks up.
    """
    shapes = parameter_shapes(config)
    embedding = shapes["embedding"]["embedding"]
    only_added = [embedding["table"]] if "output" in embedding else []
    return count(shapes) - count([only_added, embedding.get("positions", ())])


def retrofit_flops_per_token(config: RETROConfig, length: int, batch_size: int | None = None) -> float:
    """As `train_flops_per_token` where the decoder is frozen (RETRO section 4.2): its weights take no
    gradient, and nothing goes backward below the first cross-attention.
    """
    decoder, shapes, first = config.decoder, parameter_shapes(config.decoder), config.cca_layers[0]
    layers = {name: shapes[name] for name in shapes if name not in ("embedding", "final_norm")}
    attending = {name: layers[name] for name in ("attention", "parallel_block") if name in layers}
    below = ((first - 1) * count(layers) + count(attending)) / decoder.num_layers
    attention_below = 8 * first * decoder.num_heads * decoder.head_size * length
    spared = 2 * (_multiplied(decoder) + below) + attention_below
    if batch_size is not None:  # of the decoder's W_r only its gradient is spared, and no token passed it
        for w_r in _projections(decoder, length):
            spared += 2 * w_r.parameters * (1 / batch_size - 1 - first / decoder.num_layers)
    return train_flops_per_token(config, length, batch_size=batch_size) - spared


def recomputed_flops_per_token(config: Any, length: int, share_of_forward: float) -> float:
    """What rematerialisation adds for a dense model: attention and a share of the rest, forward once more.

    PaLM appendix B: all of attention, and 75 % of the rest at 540B, nothing of it at 8B and 62B.
    """
    attention = 4 * config.num_layers * config.num_heads * config.head_size * length
    return share_of_forward * 2 * _multiplied(config) + attention


class _Projection(NamedTuple):
    """W_r of one kind of attention: parameters of all its layers, tokens of its queries per decoder token,
    distances that it is multiplied with, once per layer and batch.
    """

    parameters: int
    tokens: float
    distances: int


def _projections(config: Any, length: int) -> list[_Projection]:
    shapes = parameter_shapes(config)

    def projection(operator, tokens, distances):
        kernels = [leaf for path, leaf in operator.items() if path.endswith("/relative")]
        return _Projection(count(kernels), tokens, distances)

    own = [shapes[name] for name in ("attention", "parallel_block") if name in shapes]
    projections = [projection(operator, 1, length) for operator in own]
    if config.retrieves:
        r, m, encoder = config.content_length, config.chunk, shapes["encoder"]
        passing = config.num_neighbours * r / m
        projections += [
            projection(encoder["attention"], passing, 2 * r - 1),
            projection(encoder.get("cross_attention", {}), passing, r + m - 1),
            projection(shapes["cca"], 1, r + m - 1),
        ]
    return projections


def _retrieval_flops_per_token(config: RETROConfig) -> float:
    """What the encoder and chunked cross-attention add per decoder token."""
    shapes = parameter_shapes(config)
    neighbour_tokens = config.num_neighbours * config.content_length / config.chunk
    encoder, cca = shapes["encoder"], shapes["cca"]

    def split(parameters):
        """Parameters that meet the keys' side, and those that meet the queries' side."""
        keys = sum(count(leaf["w"]) for path, leaf in parameters.items() if path.endswith(("/key", "/value")))
        return keys, count(parameters) - keys

    conditioned = encoder.get("cross_attention", {})
    chunk_keys, cross_queries = split(conditioned)
    cca_keys, cca_queries = split(cca)
    per_neighbour_token = (
        count(encoder["attention"]) + count(encoder["feed_forward"]) + cross_queries + cca_keys
    )
    if config.encoder_embedding == "shared":  # a projection, where the published form only looks up
        per_neighbour_token += count(encoder["embedding"])
    parameters = 6 * (
        neighbour_tokens * per_neighbour_token + chunk_keys * config.num_neighbours + cca_queries
    )

    encoder_width = config.encoder_num_heads * config.encoder_head_size
    decoder_width = config.decoder.num_heads * config.decoder.head_size
    encoder_attention = (
        neighbour_tokens * encoder_width
        * (config.encoder_layers * config.content_length + (config.chunk if conditioned else 0))
    )  # fmt: skip
    cca_attention = len(config.cca_layers) * decoder_width * config.num_neighbours * config.content_length
    return parameters + 12 * (encoder_attention + cca_attention)
