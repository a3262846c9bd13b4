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
from storage.files import regular

FLOATS = "fV"  # kinds of numpy's own, and of others such as bfloat16


def read_tensors(
    path: Path, expected: Collection[str], unused: tuple[str, ...], canonical: Callable[[str], str]
) -> dict[str, np.ndarray]:
    """The tensors of a file as float32, by their `canonical` names.

    Raises:
      InputError: the file cannot be read, lacks a tensor that is expected, or holds another that does not
        begin with a prefix in `unused`.
    """
    shards = path.with_name(f"{path.name}.index.json")
    if shards.exists() and not path.exists():
        raise InputError(
            f"The weights in {path.parent} are cut into several files ({shards.name}), and one is read: load "
            f"the checkpoint with its library and save it as a single {path.name}."
        )
    try:
        loaded = {canonical(name): tensor for name, tensor in load_file(regular(path)).items()}
    # Of types that numpy does not have, and of files that lie about their sizes, it raises what comes.
    except (OSError, SafetensorError, TypeError, ValueError, KeyError, AttributeError, MemoryError) as error:
        raise InputError(
            f"The weights {path} cannot be read ({error}). Fetch a damaged file again; save a checkpoint "
            "that has only pytorch_model.bin as safetensors first."
        ) from error
    tensors = {name: _as_float32(path, name, loaded[name]) for name in sorted(loaded.keys() & set(expected))}
    if missing := sorted(set(expected) - tensors.keys()):
        raise InputError(
            f"{path} lacks {len(missing)} tensors of its configuration: {', '.join(missing[:8])}."
        )
    if foreign := sorted(x for x in loaded.keys() - set(expected) if not x.startswith(unused)):
        raise InputError(
            f"{path} holds {len(foreign)} tensors that its configuration has no place for: "
            f"{', '.join(foreign[:8])}."
        )
    return tensors


def _as_float32(path: Path, name: str, tensor: np.ndarray) -> np.ndarray:
    if tensor.dtype.kind not in FLOATS:
        raise InputError(f"{path}: {name} holds {tensor.dtype}, and floats are due: save it as such first.")
    values = np.asarray(tensor, np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{path}: {name} holds what is no number. Fetch the file again.")
    return values


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
