"""RETRO: a dense decoder, a neighbour encoder, and chunked cross-attention in some layers (arXiv 2112.04426,
algorithm 1).

The decoder's parameters have the dense model's names and shapes; without neighbours this *is* the dense
model, bit for bit. In Gopher's block, and PaLM's serial one, cross-attention stands between attention and
feed-forward, as published; PaLM's parallel block has no such place, so there it follows the block.
"""

import bisect
from itertools import groupby, pairwise

import jax
import jax.numpy as jnp

from models.decoder import Model, Neighbours, Params, operator
from models.dense import DecoderOperators, dense_decoder
from models.depth import extended, init_stack, layer, layers_of, rematerialised, scan_layers, step_layers
from models.gopher.model import gopher_operators
from models.layers.axes import BATCH, RESIDUAL, STREAM
from models.palm.config import PaLMConfig
from models.palm.model import palm_operators
from models.retro.chunked_cross_attention import ChunkedCrossAttention
from models.retro.config import RETROConfig
from models.retro.copying import copying_initialisation
from models.retro.encoder import encode_neighbours, encoder_operators, init_encoder


def attending_spans(start: int, stop: int, chunk: int) -> list[tuple[int, int]]:
    """Cuts positions start … stop − 1 where an attending chunk begins, at u · m + m − 1: what one call of
    `Model.step` may read. The span that begins there is given the neighbours of chunk u.
    """
    cuts = range(start - (start + 1) % chunk + chunk, stop, chunk)
    bounds = [start, *cuts, stop] if stop > start else []
    return list(zip(bounds, bounds[1:]))


def decoder_operators(config: RETROConfig) -> DecoderOperators:
    """What the dense decoder is made of. Of its residual operators the first stands before cross-attention,
    the others after it.
    """
    return (palm_operators if isinstance(config.decoder, PaLMConfig) else gopher_operators)(config.decoder)


def cross_attention(config: RETROConfig) -> ChunkedCrossAttention:
    """The module of one layer, to be made inside a Haiku transform."""
    decoder, scale = config.decoder, (2 * config.decoder.num_layers) ** -0.5
    return ChunkedCrossAttention(
        decoder.num_heads, decoder.head_size, config.chunk, decoder.norm, scale, config.cca_positions
    )


def retro(config: RETROConfig) -> Model:
    """The model of `config`. `apply` with neighbours=None is retrieval-off."""
    decoder = config.decoder
    ops = decoder_operators(config)
    dense = dense_decoder(decoder, ops)
    first, *others = ops.residuals
    before, after = ({name: ops.residuals[name] for name in names} for names in ([first], others))
    encoder = encoder_operators(config)

    by_chunk = (BATCH, None, None, None)
    cca = operator(lambda *inputs: cross_attention(config)(*inputs), STREAM, (*by_chunk, RESIDUAL), by_chunk)
    cca_memory = operator(lambda encoded_bcre: cross_attention(config).memory(encoded_bcre))
    remember = jax.vmap(cca_memory.apply, in_axes=(0, None))
    cca_distances = operator(lambda x_btd: cross_attention(config).distances(config.content_length, x_btd))
    cca_step = operator(lambda *inputs: cross_attention(config).step(*inputs))

    def init(key):
        keys = jax.random.split(key, 4)
        x_btd = jnp.zeros((1, config.chunk, decoder.d_model))
        encoded, mask = jnp.zeros((1, 1, 1, 1, config.encoder_d_model)), jnp.ones((1, 1, 1, 1), bool)
        params = {
            **dense.init(keys[0]),
            "cca": init_stack(cca, keys[1], len(config.cca_layers), x_btd, encoded, mask),
            "encoder": init_encoder(encoder, config, keys[2]),
        }
        if config.cca_initialisation == "copying":
            return copying_initialisation(params, config, keys[3])
        return params

    def encode(params, neighbours, chunks_bumd):
        """Runs the encoder on the activations of the chunks that did the retrieving."""
        return encode_neighbours(
            encoder, config, params["encoder"], neighbours, chunks_bumd, lambda ids: dense.embed(params, ids)
        )

    def retrieving_layer(params, x_btd, encoded, neighbours):
        """ATTN, CCA, FFW; the first such layer encodes the neighbours in between."""
        x_btd = _apply(before, params, x_btd)
        if encoded is None:
            batch, num_chunks, m = x_btd.shape[0], neighbours.tokens.shape[1], config.chunk
            chunks_bumd = x_btd[:, : num_chunks * m].reshape(batch, num_chunks, m, -1)
            encoded = encode(params, neighbours, chunks_bumd)
        x_btd = cca.apply(params["cca"], x_btd, encoded, neighbours.mask)
        return _apply(after, params, x_btd), encoded

    retrieving_layer = rematerialised(retrieving_layer, decoder.remat)

    def attending(start, stop):
        """Where in `cca_layers` those among layers start … stop − 1 begin and end; these count from 1."""
        return tuple(bisect.bisect_right(config.cca_layers, bound) for bound in (start, stop))

    def take(params, start, stop):
        first, last = attending(start, stop)
        taken = dense.take(params, start, stop) | {"cca": layers_of(params["cca"], first, last)}
        encodes = ("encoder", "embedding") if first == 0 and last > 0 else ()
        return taken | {name: params[name] for name in encodes}

    def run(taken, carry, start, stop, neighbours=None):
        if neighbours is None or neighbours.tokens.shape[1] == 0:
            return dense.run(taken, carry, start, stop)
        neighbours = neighbours_read(config, neighbours)
        (x_btd, encoded), done = carry, 0

        def span(params, x_btd, encoded):
            """Dense layers, and the retrieving one that they end with."""
            size = jax.tree.leaves(params[next(iter(ops.residuals))])[0].shape[0]
            x_btd = dense.layers(params, x_btd, 0, size - 1)
            last = {name: layer(params[name], size - 1) for name in ops.residuals}
            return retrieving_layer(params | last, x_btd, encoded, neighbours)

        ends = [number - start for number in config.cca_layers[slice(*attending(start, stop))]]
        index = 0
        if ends and encoded is None:
            first = taken | dense.take(taken, 0, ends[0]) | {"cca": layer(taken["cca"], 0)}
            x_btd, encoded = span(first, x_btd, None)
            done, index = ends[0], 1
        # Spans of one size, such as the papers' every third layer, are compiled once.
        for size, spans in groupby(b - a for a, b in pairwise([done, *ends[index:]])):
            count = len(list(spans))
            stack = _in_spans(dense.take(taken, done, done + count * size), count)
            stack["cca"] = layers_of(taken["cca"], index, index + count)
            x_btd = scan_layers(lambda params, x: span(params, x, encoded)[0], stack, x_btd, 0, count, "none")
            done, index = done + count * size, index + count
        return dense.layers(taken, x_btd, done, stop - start), encoded

    def hidden(params, tokens_bt, neighbours=None):
        everything = 0, decoder.num_layers
        carry = dense.embed(params, tokens_bt), None
        return run(take(params, *everything), carry, *everything, neighbours)[0]

    def cache(params, batch, length):
        """Beside the dense cache: the activations of the chunk being read, which the encoder will ask for;
        the keys and values of its predecessor's neighbours; and what each layer makes of their distances.
        """
        x_btd = dense.embed(params, jnp.zeros((batch, 1), jnp.int32))
        k, r = config.k_evaluation, config.content_length
        unread = jnp.zeros((batch, k, r, config.encoder_d_model), x_btd.dtype)
        return {
            **dense.cache(params, batch, length),
            "chunk": jnp.zeros((batch, config.chunk, decoder.d_model), x_btd.dtype),
            "mask": jnp.zeros((batch, k, r), bool),
            "memory": remember(params["cca"], unread),
            "distances": jax.vmap(lambda cca: cca_distances.apply(cca, x_btd))(params["cca"]),
        }

    def step(params, cache, tokens_bt, neighbours=None):
        position, length = cache["position"], tokens_bt.shape[1]
        first_query = (position + 1) % config.chunk
        x_btd, done, added = dense.embed(params, tokens_bt, position), 0, []
        memory, chunk_bmd = cache["memory"], cache["chunk"]
        if neighbours is None:
            mask = jnp.where(first_query == 0, False, cache["mask"])
        else:
            neighbours = neighbours_read(config, neighbours)
            mask = neighbours.mask[:, 0]

        def run(residuals, x_btd, start, stop):
            x_btd, new = step_layers(residuals, params, cache["layers"], x_btd, position, start, stop)
            added.append(new)
            return x_btd

        for index, number in enumerate(config.cca_layers):
            x_btd = run(ops.residuals, x_btd, done, number - 1)
            x_btd = run(before, x_btd, number - 1, number)
            if index == 0:
                if neighbours is not None:
                    chunk_bumd = chunk_bmd.at[:, -1].set(x_btd[:, 0])[:, None]
                    encoded_bcre = encode(params, neighbours, chunk_bumd)[:, 0]
                    memory = remember(params["cca"], encoded_bcre)
                chunk_bmd = chunk_bmd.at[:, (position + jnp.arange(length)) % config.chunk].set(x_btd)
            here = layer((params["cca"], memory, cache["distances"]), index)
            x_btd = cca_step.apply(here[0], x_btd, *here[1:], mask, first_query)
            x_btd = run(after, x_btd, number - 1, number)
            done = number
        x_btd = run(ops.residuals, x_btd, done, decoder.num_layers)
        return dense.unembed(params, x_btd), {
            "position": position + length,
            "layers": extended(cache["layers"], _by_depth(added), position),
            "chunk": chunk_bmd,
            "mask": mask,
            "memory": memory,
            "distances": cache["distances"],
        }

    return Model(config, init, hidden, dense.unembed, dense.embed, dense.layers, take, run, cache, step)


def _apply(residuals, params, x_btd):
    for name, residual in residuals.items():
        x_btd = residual.whole.apply(params[name], x_btd)
    return x_btd


def _in_spans(layers: Params, count: int) -> Params:
    """Leaves [L, ...] -> [count, L / count, ...]."""
    return jax.tree.map(lambda leaf: leaf.reshape(count, -1, *leaf.shape[1:]), layers)


def neighbours_read(config: RETROConfig, neighbours: Neighbours) -> Neighbours:
    """What the configuration reads of [N, F]."""
    return Neighbours(neighbours.tokens[..., config.content], neighbours.mask[..., config.content])


def _by_depth(added):
    """What ranges of layers added to the cache, as one stack per residual operator."""
    names = {name: None for part in added for name in part}
    return {
        name: jax.tree.map(
            lambda *parts: jnp.concatenate(parts), *(part[name] for part in added if name in part)
        )
        for name in names
    }
