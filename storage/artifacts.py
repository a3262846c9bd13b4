"""Artifacts: folders named by the hash of what produced them, built once, verified and reused.

A folder appears under its final name only when it is complete, so a run that is killed at any moment leaves
nothing half-made. Every file's hash stands in the folder's manifest and is compared on every use.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from errors import InputError
from storage.files import file_hash, is_disk_full, locked, write_atomic

MANIFEST = "manifest.json"


def fingerprint(value: Any) -> str:
    """16 hex digits of the SHA-256 of `value` in canonical JSON.

    Dataclasses count as their fields, bytes and files (`Path`) as their content, tuples as lists.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_as_json)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _as_json(value):
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, bytes):
        return {"sha256": hashlib.sha256(value).hexdigest()}
    if isinstance(value, Path):
        return {"sha256": file_hash(value)}
    raise TypeError(f"{type(value).__name__} has no canonical form to take a fingerprint of")


def first_difference(there: Mapping, here: Mapping) -> str | None:
    """The first field, such as decoder.d_model, in which two mappings differ as JSON, in words; or None."""
    flat = [_flat(json.loads(json.dumps(values))) for values in (there, here)]
    for field in sorted(flat[0].keys() | flat[1].keys()):
        values = [repr(values[field]) if field in values else "absent" for values in flat]
        if values[0] != values[1]:
            return f"{field} is {values[0]} there and {values[1]} here"
    return None


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        name: leaf
        for key, inner in value.items()
        for name, leaf in _flat(inner, f"{prefix}.{key}" if prefix else key).items()
    }


def artifact_path(root: Path, kind: str, inputs: Mapping) -> Path:
    """Where `artifact` keeps what it builds, be it there or not."""
    return Path(root) / f"{kind}-{fingerprint(inputs)}"


def artifact(root: Path, kind: str, inputs: Mapping, build: Callable[[Path], None]) -> Path:
    """The folder `root/kind-fingerprint(inputs)`, built by `build(folder)` unless it is there and whole.

    Processes that ask for the same artifact at once build it once: the others wait and reuse it. A damaged
    artifact is named on stderr and rebuilt; it is replaced only when its successor is complete.

    Raises:
        InputError: the disk is full.
    """
    final = artifact_path(root, kind, inputs)
    with _disk_full_explained(final.parent, kind):
        final.parent.mkdir(parents=True, exist_ok=True)
        with locked(final.with_name(f".{final.name}.lock")):
            damaged = first_damaged_file(final) if final.exists() else None
            if final.exists() and damaged is None:
                return final
            if damaged is not None:
                print(f"{final / damaged} is damaged or missing: building it again", file=sys.stderr)
            _build_and_rename(final, inputs, build)
    return final


def first_damaged_file(folder: Path) -> str | None:
    """Name of the first file that is missing or differs from the manifest, None when all is whole."""
    try:
        hashes = json.loads((folder / MANIFEST).read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return MANIFEST
    for name, expected in hashes.items():
        if not (folder / name).is_file() or file_hash(folder / name) != expected:
            return name
    return None


def _build_and_rename(final: Path, inputs: Mapping, build: Callable[[Path], None]) -> None:
    building = final.with_name(f".{final.name}.building")
    replaced = final.with_name(f".{final.name}.replaced")
    # Whoever holds the lock is the only builder alive, so what lies here was left by a build that was killed.
    for stale in (building, replaced):
        shutil.rmtree(stale, ignore_errors=True)
    building.mkdir()
    try:
        build(building)
        _write_manifest(building, inputs)
        if final.exists():
            os.rename(final, replaced)
        os.rename(building, final)
    finally:
        for leftover in (building, replaced):
            shutil.rmtree(leftover, ignore_errors=True)


def _write_manifest(folder: Path, inputs: Mapping) -> None:
    hashes = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        hashes[path.relative_to(folder).as_posix()] = file_hash(path)
    described = json.loads(json.dumps(inputs, default=_as_json))
    write_atomic(folder / MANIFEST, json.dumps({"inputs": described, "files": hashes}, indent=1))


@contextlib.contextmanager
def _disk_full_explained(folder: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise InputError(
            f"The disk that holds {folder} is full: the {kind} could not be written ({error}). What was "
            "complete before is untouched. Free some space, or give a folder on another disk, and run the "
            "command again."
        ) from error
