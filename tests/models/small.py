"""Small models and inputs for the tests of this folder."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from models.decoder import Neighbours
from models.families import build, configuration

FAMILIES = ("palm", "gopher", "retro")
LENGTH, K, R, M = 192, 2, 128, 64


def small(family, **changes):
    """The family's smoke size with other fields."""
    return dataclasses.replace(configuration(f"{family}/smoke"), **changes)


SHORT_CHUNK = 4
RETRO = small("retro", chunk=SHORT_CHUNK, neighbour=2 * SHORT_CHUNK, evaluation_neighbours=3)
# Every switch that the papers ablate, off its default at least once. RETRO with short chunks.
FORMS = {
    "palm": small("palm"),
    "palm serial, multi-head, learned, untied": small(
        "palm", block="serial", attention="multi_head", positions="learned", feed_forward="gelu",
        embeddings="untied",
    ),
    "palm relative, layer norm": small("palm", positions="relative", norm="layer", feed_forward="relu"),
    "palm relative, multi-head": small("palm", positions="relative", attention="multi_head"),
    "gopher": small("gopher"),
    "gopher beyond its training length": small("gopher", max_length=8),
    "gopher learned": small("gopher", positions="learned", norm="layer", activation="relu"),
    "retro": RETRO,
    "retro, several CCA layers": dataclasses.replace(
        RETRO, decoder=small("gopher", num_layers=3), cca_layers=(2, 3), neighbour_content="continuation"
    ),
    "retro without conditions": dataclasses.replace(
        RETRO, encoder_conditioned=False, cca_positions=False, encoder_embedding="shared",
        neighbour_content="neighbour",
    ),
    "retro on PaLM's block": dataclasses.replace(RETRO, decoder=small("palm"), cca_layers=(1, 2)),
}  # fmt: skip


@cache
def initialised(config, seed=0):
    """(model, params) drawn by numpy, which compiles nothing; no parameter is zero or one, because a test must
    not pass for that.
    """
    model = build(config)
    random = np.random.default_rng(seed)

    def drawn(path, like):
        around = 1.0 if path[-1].key == "scale" else 0.0
        return jnp.asarray(around + 0.2 * random.standard_normal(like.shape, np.float32), like.dtype)

    return model, jax.tree_util.tree_map_with_path(drawn, jax.eval_shape(model.init, jax.random.key(seed)))


@cache
def applied(config):
    """Its `apply`, jitted once: tests that read the same shapes share the program."""
    return jax.jit(build(config).apply)


def tokens(length=LENGTH, batch=2, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 1024, (batch, length)), jnp.int32)


def neighbours(length=LENGTH, batch=2, k=K, seed=1, mask=True):
    shape = (batch, length // M, k, R)
    ids = np.random.default_rng(seed).integers(0, 1024, shape)
    return Neighbours(jnp.asarray(ids, jnp.int32), jnp.full(shape, mask))


def neighbours_for(family, **changes):
    return neighbours(**changes) if family == "retro" else None
