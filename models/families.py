"""From a name to a configuration, and from a configuration to a model."""

import dataclasses
import math
from typing import Any

import jax

from models.decoder import Model
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
    """`family/size`, such as palm/8b, gopher/44m, retro/172m -> its configuration. Raises ValueError for an
    unknown name.
    """
    family, _, size = name.partition("/")
    if family not in SIZES or size not in SIZES[family]:
        known = ", ".join(f"{f}/{s}" for f, sizes in SIZES.items() for s in sizes)
        raise ValueError(f"no model {name!r}; known: {known}")
    return SIZES[family][size]


def family_of(config: Any) -> str:
    """The family that a configuration belongs to."""
    return next(family for family, sizes in SIZES.items() if type(config) is type(next(iter(sizes.values()))))


def build(config: Any) -> Model:
    """The model of a configuration."""
    return BUILDERS[family_of(config)](config)


def with_vocab_size(config: Any, vocab_size: int) -> Any:
    """The same configuration over another vocabulary."""
    if isinstance(config, RETROConfig):
        return dataclasses.replace(config, decoder=with_vocab_size(config.decoder, vocab_size))
    return dataclasses.replace(config, vocab_size=vocab_size)


def parameter_shapes(config: Any) -> Any:
    """The tree of parameter shapes; nothing is allocated, so 540B takes a second."""
    return jax.eval_shape(build(config).init, jax.random.key(0))


def count(shapes: Any) -> int:
    """Number of parameters in a tree of shapes or arrays."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
