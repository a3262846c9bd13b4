"""Artifacts: folders named by the hash of what produced them, built once, verified and reused.

A folder appears under its final name only when it is complete, so a run that is killed at any moment leaves
nothing half-made. Every file's hash stands in the folder's manifest, and what made the folder, whose hash is
its name. `artifact` compares all on every use; who opens a folder by a name that a file says goes through
`named`, since the file may be somebody else's, and then through `require_whole`.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from errors import InputError
from progress import printable
from storage.files import file_hash, is_disk_full, locked, write_atomic
from storage.json_files import check, read_json

MANIFEST = "manifest.json"
# So many bytes in all are compared with their hashes whenever they are opened: a fifth of a second.
ALWAYS_COMPARED = 2**28


def _file_of_an_artifact(name: str) -> None:
    """A form (storage.json_files) of paths below a folder."""
    path = PurePosixPath(name)
    strange = not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name
    if strange or max(len(part.encode()) for part in path.parts) > 255:
        raise ValueError("no file below its folder has such a name")


FORM = {"inputs": {}, "files": {str: str}}


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
    final = named(root, artifact_path(root, kind, inputs).name)
    with _disk_full_explained(final.parent, kind):
        final.parent.mkdir(parents=True, exist_ok=True)
        with locked(final.with_name(f".{final.name}.lock")):
            damaged = first_damaged_file(final) if final.exists() else None
            if final.exists() and damaged is None:
                return final
            if damaged is not None:
                where = printable(str(final / damaged))
                print(f"{where} is damaged or missing: building it again", file=sys.stderr)
            _build_and_rename(final, inputs, build)
    return final


def name_of(kind: str) -> Callable[[Any], None]:
    """A form (storage.json_files): the name of an artifact of this kind, and no other path."""

    def check_name(value: Any) -> None:
        if not isinstance(value, str) or not re.fullmatch(rf"{kind}-[0-9a-f]{{16}}", value):
            shown = kind.replace("[a-z]+", "tokens")
            raise ValueError(f"the name of an artifact is due, such as {shown}-0123456789abcdef")

    return check_name


def named(root: Path, name: str) -> Path:
    """The folder, there or not, of the artifact whose name a file says: below `root` and nowhere else.

    Raises:
        InputError: it is no name of an artifact, or a link lies there.
    """
    try:
        check(name, name_of("[a-z]+"), "the name")
    except ValueError as error:
        raise InputError(f"An artifact below {root} cannot be opened: {error}.") from error
    folder = Path(root) / name
    if folder.is_symlink():
        raise InputError(
            f"{folder} is a link. What it leads to is neither read nor changed: put the folder itself in its "
            "place."
        )
    return folder


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the manifest of an artifact says: `inputs`, and `files`, their hashes by name.

    Raises:
        OSError, ValueError: it is missing, damaged, or of another artifact.
    """
    manifest = read_json(folder / MANIFEST)
    check(manifest, FORM)
    for name in manifest["files"]:
        check(name, _file_of_an_artifact, "the name of a file")
    if fingerprint(manifest["inputs"]) != folder.name.rpartition("-")[2]:
        raise ValueError("its inputs do not have the hash that its folder is named by")
    return manifest


def require_whole(folder: Path, way_out: str, but_for: Collection[str] = ()) -> Path:
    """`folder`, where everything in it is as it was made. but_for: files of which only that they are there is
    asked.

    Raises:
        InputError: a file is missing or another; the message names it and ends with `way_out`.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is missing. {way_out}")
    if damaged := first_damaged_file(folder, but_for):
        raise InputError(f"{folder / damaged} is missing or damaged. {way_out}")
    return folder


def large(folders: Iterable[Path]) -> bool:
    """Whether these folders hold more than is compared with its hashes whenever it is opened."""
    files = (path for folder in folders for path in folder.glob("*") if path.is_file())
    return sum(path.stat().st_size for path in files) > ALWAYS_COMPARED


def first_damaged_file(folder: Path, but_for: Collection[str] = ()) -> str | None:
    """The first of `damaged_files`, None when all is whole."""
    return next(damaged_files(folder, but_for), None)


def damaged_files(folder: Path, but_for: Collection[str] = ()) -> Iterator[str]:
    """Names of the files that are missing or differ from the manifest. Of those in `but_for` it is asked only
    that they are there.
    """
    try:
        hashes = read_manifest(folder)["files"]
    except (OSError, ValueError):
        yield MANIFEST
        return
    for name, expected in hashes.items():
        path = folder / name
        # A link may lead anywhere: what it leads to is not read.
        if not path.is_file() or path.resolve() != folder.resolve() / name:
            yield name
        elif name not in but_for and file_hash(path) != expected:
            yield name


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
