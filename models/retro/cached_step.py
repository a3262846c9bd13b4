"""RETRO's cache and cached step: the next tokens of every row, with the neighbours of the chunk before."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from models.decoder import Model
from models.depth import Depth
from models.retro.config import RETROConfig
from models.retro.operators import RETROOperators, encode, neighbours_read
from models.stack import layer


def attending_spans(start: int, stop: int, chunk: int) -> list[tuple[int, int]]:
    """Cuts positions start … stop − 1 where an attending chunk begins, at u · m + m − 1: what one call of
    `Model.step` may read. The span that begins there is given the neighbours of chunk u.
    """
    cuts = range(start - (start + 1) % chunk + chunk, stop, chunk)
    bounds = [start, *cuts, stop] if stop > start else []
    return list(zip(bounds, bounds[1:]))


def cached(
    config: RETROConfig, ops: RETROOperators, dense: Model, depth: Depth
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(cache, step) of the model of `config`, as `Model` describes them; `dense` is its decoder alone."""
    remember = jax.vmap(ops.cca_memory.apply, in_axes=(0, None))

    def cache(params, batch, length):
        """Beside the dense cache: the activations of the chunk being read, which the encoder will ask for;
        the keys and values of its predecessor's neighbours; and what each layer makes of their distances.
        """
        x_btd = dense.embed(params, jnp.zeros((batch, 1), jnp.int32))
        k, r = config.k_evaluation, config.content_length
        unread = jnp.zeros((batch, k, r, config.encoder_d_model), x_btd.dtype)
        return {
            **dense.cache(params, batch, length),
            "chunk": jnp.zeros((batch, config.chunk, config.decoder.d_model), x_btd.dtype),
            "mask": jnp.zeros((batch, k, r), bool),
            "memory": remember(params["cca"], unread),
            "distances": jax.vmap(lambda cca: ops.cca_distances.apply(cca, x_btd))(params["cca"]),
        }

    def step(params, cache, tokens_bt, beside=None):
        position, length = cache["position"], tokens_bt.shape[1]
        first_query = (position + 1) % config.chunk
        if beside is None:
            mask = jnp.where(first_query == 0, False, cache["mask"])
        else:
            beside = neighbours_read(config, beside)
            mask = beside.mask[:, 0]

        def remembered(x_btd, chunk_bmd, memory):
            """The chunk with these activations, and the keys and values of its predecessor's neighbours."""
            if beside is not None:
                chunk_bumd = chunk_bmd.at[:, -1].set(x_btd[:, 0])[:, None]
                memory = remember(params["cca"], encode(config, ops, params, beside, chunk_bumd)[:, 0])
            here = (position + jnp.arange(length)) % config.chunk
            return chunk_bmd.at[:, here].set(x_btd), memory

        def attend(index, x_btd, state):
            state = remembered(x_btd, *state) if index == 0 else state
            cca, memory, distances = layer((params["cca"], state[1], cache["distances"]), index)
            return ops.cca_step.apply(cca, x_btd, memory, distances, mask, first_query), state

        x_btd = dense.embed(params, tokens_bt, position)
        x_btd, layers, (chunk_bmd, memory) = depth.step(
            params, cache["layers"], x_btd, position, attend, (cache["chunk"], cache["memory"])
        )
        return dense.unembed(params, x_btd), {
            "position": position + length,
            "layers": layers,
            "chunk": chunk_bmd,
            "mask": mask,
            "memory": memory,
            "distances": cache["distances"],
        }

    return cache, step
