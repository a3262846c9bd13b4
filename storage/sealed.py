"""JSON objects and arrays that show whether they are whole: a flipped bit in a number is a number still.

An object's last field is a checksum of the others. An array's stands in a sealed object beside it. What has
none, because an older version wrote it, is taken as it is.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from errors import InputError
from storage.files import file_hash, no_link, not_through_a_link, write_atomic
from storage.json_files import read_json

SEAL = "crc32"
HASHES = "arrays.json"  # of the arrays of a folder, by file name


class DamagedError(ValueError):
    """The content is not what was written."""


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """`content`, values of JSON, with its checksum as the last field."""
    return {**content, SEAL: _checksum(content)}


def opened(values: Any) -> dict[str, Any]:
    """The content of what `sealed` made, back from JSON.

    Raises:
        DamagedError: it is no object, or not the one that was sealed.
    """
    if not isinstance(values, dict):
        raise DamagedError("it holds no JSON object")
    content = {name: value for name, value in values.items() if name != SEAL}
    if SEAL in values and values[SEAL] != _checksum(content):
        raise DamagedError(f"its content does not have the checksum {values[SEAL]} that it was written with")
    return content


def read_sealed(path: Path) -> dict[str, Any]:
    """The object in a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, or damaged.
    """
    return opened(read_json(path))


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Writes an object, whole or not at all."""
    write_atomic(path, json.dumps(sealed(content), indent=1))


def save_array(path: Path, array: np.ndarray) -> None:
    """`array` in a `.npy` file, whole or not at all; its hash goes into HASHES beside it. One process writes
    into a folder at a time.
    """
    partial = path.with_suffix(".partial")
    with open(partial, "wb", opener=not_through_a_link) as file:
        np.save(file, array, allow_pickle=False)
    listed = path.parent / HASHES
    try:
        hashes = read_sealed(listed) if listed.exists() else {}
    except ValueError:  # what it said of the others cannot be believed any more
        hashes = {}
    write_sealed(listed, {**hashes, path.name: file_hash(partial)})
    partial.replace(path)


def load_array(path: Path) -> np.ndarray:
    """What `save_array` saved.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        listed = path.parent / HASHES
        hashes = read_sealed(listed) if listed.exists() else {}
        if path.name in hashes and hashes[path.name] != file_hash(no_link(path)):
            raise DamagedError("it does not have the hash that it was saved with")
        return np.load(no_link(path), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path} is missing or damaged ({error}). Remove it and run the command again: the model is "
            "evaluated anew, and not trained."
        ) from error


def _checksum(content: Mapping[str, Any]) -> str:
    """8 hex digits, of the values as JSON gives them back."""
    return f"{zlib.crc32(json.dumps(json.loads(json.dumps(content)), sort_keys=True).encode()):08x}"
