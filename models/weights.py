"""Foreign weights: the tensors of a safetensors file as a tree of parameters."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from errors import InputError


def read_tensors(
    path: Path, expected: Collection[str], unused: tuple[str, ...], canonical: Callable[[str], str]
) -> dict[str, np.ndarray]:
    """The tensors of a file as float32, by their `canonical` names.

    Raises:
      InputError: the file cannot be read, lacks a tensor that is expected, or holds another that does not
        begin with a prefix in `unused`.
    """
    try:
        tensors = {canonical(name): np.asarray(x, np.float32) for name, x in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"The weights {path} cannot be read ({error}). Fetch a damaged file again; save a checkpoint "
            "that has only pytorch_model.bin as safetensors first."
        ) from error
    if missing := sorted(set(expected) - tensors.keys()):
        raise InputError(
            f"{path} lacks {len(missing)} tensors of its configuration: {', '.join(missing[:8])}."
        )
    if foreign := sorted(x for x in tensors.keys() - set(expected) if not x.startswith(unused)):
        raise InputError(
            f"{path} holds {len(foreign)} tensors that its configuration has no place for: "
            f"{', '.join(foreign[:8])}."
        )
    return tensors


def parameters(
    path: Path, names: Mapping[str, Any], shapes: Mapping[str, Any], tensor: Callable[[Any], np.ndarray]
) -> Mapping[str, Any]:
    """The tree of parameters made of the tensors of `path`.

    Args:
      names: the tree, what each parameter is made of as its leaves: a name, or a tuple of names.
      shapes: the tree of jax.ShapeDtypeStruct.
      tensor: a leaf of `names` -> the array.

    Raises:
      InputError: an array has another shape.
    """

    def parameter(leaf, expected):
        value = tensor(leaf)
        if value.shape != expected.shape:
            raise InputError(
                f"{path}: {leaf} make {value.shape}, but its configuration asks for {expected.shape}."
            )
        return jnp.asarray(value)

    return jax.tree.map(parameter, names, shapes, is_leaf=lambda node: not isinstance(node, Mapping))
