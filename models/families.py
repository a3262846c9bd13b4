"""From a name to a configuration, and from a configuration to a model."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from errors import InputError
from models.decoder import Model, Params
from models.gopher.config import SIZES as GOPHER_SIZES
from models.gopher.model import gopher
from models.palm.config import SIZES as PALM_SIZES
from models.palm.model import palm
from models.retro.config import SIZES as RETRO_SIZES
from models.retro.config import RETROConfig
from models.retro.model import retro

SIZES = {"palm": PALM_SIZES, "gopher": GOPHER_SIZES, "retro": RETRO_SIZES}
BUILDERS = {"palm": palm, "gopher": gopher, "retro": retro}


def configuration(name: str) -> Any:
    """`family/size`, such as palm/8b, gopher/44m, retro/172m -> its configuration. Raises InputError for an
    unknown name.
    """
    family, _, size = name.partition("/")
    if family not in SIZES or size not in SIZES[family]:
        known = ", ".join(f"{f}/{s}" for f, sizes in SIZES.items() for s in sizes)
        raise InputError(f"There is no model {name!r}; choose one of {known}.")
    return SIZES[family][size]


def family_of(config: Any) -> str:
    """The family that a configuration belongs to."""
    return next(family for family, sizes in SIZES.items() if type(config) is type(next(iter(sizes.values()))))


@functools.cache
def build(config: Any) -> Model:
    """The model of a configuration: the same one every time, so that what was compiled for it is found
    again.
    """
    return BUILDERS[family_of(config)](config)


def with_decoder_fields(config: Any, **fields: Any) -> Any:
    """The same configuration with other fields of its decoder, such as vocab_size, max_length or remat."""
    if isinstance(config, RETROConfig):
        return dataclasses.replace(config, decoder=with_decoder_fields(config.decoder, **fields))
    return dataclasses.replace(config, **fields)


def lengthened(config: Any, params: Params, length: int) -> tuple[Any, Params]:
    """A trained model as it reads `length` tokens, more than the max_length it was trained on -> (config,
    params).

    Learned positions repeat their last row, as relative distances stay at their largest. Every other form is
    returned as it is: rope and relative distances have no end.
    """
    decoder = getattr(config, "decoder", config)
    if decoder.positions != "learned" or length <= decoder.max_length:
        return config, params
    embedding = params["embedding"]["embedding"]
    positions = jnp.pad(embedding["positions"], ((0, length - decoder.max_length), (0, 0)), mode="edge")
    longer = {"embedding": {**embedding, "positions": positions}}
    return with_decoder_fields(config, max_length=length), {**params, "embedding": longer}


def parameter_shapes(config: Any) -> Any:
    """The tree of parameter shapes; nothing is allocated, so 540B takes a second."""
    return jax.eval_shape(build(config).init, jax.random.key(0))


def count(shapes: Any) -> int:
    """Number of parameters in a tree of shapes or arrays."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
