"""The three families, one record each; from a name to a configuration, and from that to a model.

To add a family, write its configuration and its builder in a folder beside the others, and one `Family` here.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
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
from models.retro.model import retro


@dataclass(frozen=True)
class Family:
    """name: in options, folders and results. title: on a page. sizes: configurations by name, all of one
    frozen dataclass that answers as models.switches.Dense does. build: a configuration's model. recipe: its
    optimiser, a name in training.recipes.RECIPES. z_loss: the weight of log²Z in its loss. precision of the
    published runs: a name in training.precision.POLICIES. tokenizer: the manner of the published one, a name
    in data.tokenizers.STYLES.
    """

    name: str
    title: str
    sizes: Mapping[str, Any]
    build: Callable[[Any], Model]
    recipe: str
    z_loss: float
    precision: str
    tokenizer: str

    @property
    def configuration(self) -> type:
        return type(next(iter(self.sizes.values())))

    @property
    def vocab_size(self) -> int:
        """Of the published tokenizer; the small sizes have less."""
        return max(config.vocab_size for config in self.sizes.values())


FAMILIES = {family.name: family for family in (
    # Section 5: 1e-4 · log²Z; float32 parameters, bfloat16 activations.
    Family("palm", "PaLM", PALM_SIZES, palm, "palm", z_loss=1e-4, precision="mixed", tokenizer="palm"),
    # Appendix C: bfloat16, a float32 copy partitioned.
    Family("gopher", "Gopher", GOPHER_SIZES, gopher, "gopher", z_loss=0.0,
           precision="bfloat16_with_float32_copy", tokenizer="gopher"),
    # The paper is silent on precision, and on the tokenizer's manner: its authors' other one is Gopher's.
    Family("retro", "RETRO", RETRO_SIZES, retro, "retro", z_loss=0.0, precision="mixed", tokenizer="gopher"),
)}  # fmt: skip


def configuration(name: str) -> Any:
    """`family/size`, such as palm/8b, gopher/44m, retro/172m-copying -> its configuration. Raises InputError
    for an unknown name.
    """
    known = {f"{f.name}/{size}": config for f in FAMILIES.values() for size, config in f.sizes.items()}
    if name not in known:
        near = get_close_matches(name, known, n=5, cutoff=0.6) or known
        raise InputError(
            f"There is no model {name!r}; choose one of {', '.join(near)}. "
            "`python -m experiments.sizes` shows all."
        )
    return known[name]


def family_of(config: Any) -> Family:
    """The family that a configuration belongs to."""
    return next(family for family in FAMILIES.values() if type(config) is family.configuration)


@functools.cache
def build(config: Any) -> Model:
    """The model of a configuration: the same one every time, so that what was compiled for it is found
    again.
    """
    return family_of(config).build(config)


def with_decoder_fields(config: Any, **fields: Any) -> Any:
    """The same configuration with other fields of its decoder, such as vocab_size, max_length or remat."""
    if config.retrieves:
        fields = {"decoder": dataclasses.replace(config.decoder, **fields)}
    return dataclasses.replace(config, **fields)


def lengthened(config: Any, params: Params, length: int) -> tuple[Any, Params]:
    """A trained model as it reads `length` tokens, more than the max_length it was trained on -> (config,
    params).

    Learned positions repeat their last row, as relative distances stay at their largest. Every other form is
    returned as it is: rope and relative distances have no end.
    """
    if config.decoder.positions != "learned" or length <= config.max_length:
        return config, params
    embedding = params["embedding"]["embedding"]
    positions = jnp.pad(embedding["positions"], ((0, length - config.max_length), (0, 0)), mode="edge")
    longer = {"embedding": {**embedding, "positions": positions}}
    return with_decoder_fields(config, max_length=length), {**params, "embedding": longer}


@functools.cache
def parameter_shapes(config: Any) -> Any:
    """The tree of parameter shapes; nothing is allocated, so 540B takes a second. Not to be changed: everyone
    is given the same.
    """
    return jax.eval_shape(build(config).init, jax.random.key(0))


def count(shapes: Any) -> int:
    """Number of parameters in a tree of shapes or arrays."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
