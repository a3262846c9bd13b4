"""Run folders and databases of somebody else, whose files name a path elsewhere: nothing there is read, changed or
removed.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from command import command
from experiments import generate, retrieval
from tests.chaos.cases import Case
from tests.chaos.children import Child
from tests.chaos.jobs import enter

MEANT = (
    "root",
    "encoder",
    "checkpoint",
    "crc32",
)  # where artifacts and encoders are: meant to lead elsewhere
READERS = {
    "database": (
        "search --database database --query alpha",
        "add --database database --corpus later",
        "remove --database database --document first-5.txt",
        "verify --database database",
    ),
    "finished": ("generate --run finished/retro --prompt alpha --tokens 3",),
}


def reading(folder: Path, line: str) -> None:
    """A command that reads what somebody else wrote."""
    enter(folder)
    verb, *arguments = line.split()
    if verb == "generate":
        command(generate.generate, generate.Options, "", arguments)
    else:
        command(retrieval.retrieval, retrieval.VERBS, "", [verb, *arguments])


def leaving(
    template: Path, folder: Path, canary: Path, random: np.random.Generator, count: int
) -> Iterator[Case]:
    """`count` copies of `template` in each of which one text of a JSON file is a path to `canary`, or a file or
    folder a link there.
    """
    for number in range(count):
        place = folder / str(number)
        shutil.copytree(template, place)
        below = list(READERS)[random.integers(len(READERS))]
        what = (
            _link(place, below, canary, random)
            if random.random() < 0.3
            else _text(place, below, canary, random)
        )
        line = READERS[below][random.integers(len(READERS[below]))]
        end = Child(reading, place, line, log=folder / f"{number}.log", outside=canary).end(300)
        outcome = {None: "hang", 0: "accepted", 2: "named"}.get(end.code, "exit")
        yield Case("paths", f"{line.split()[0]}: {what}", "traceback" if end.traceback else outcome, end.said)
        shutil.rmtree(place)


def _text(place: Path, below: str, canary: Path, random: np.random.Generator) -> str:
    """One text of one JSON file of `below` becomes a path."""
    paths = sorted(path for part in (below, "artifacts") for path in (place / part).rglob("*.json"))
    while True:
        path = paths[random.integers(len(paths))]
        content = json.loads(path.read_bytes())
        places = list(_texts(content))
        if places:
            break
    holder, key = places[random.integers(len(places))]
    relative = os.path.relpath(canary, path.parent)
    ways = (str(canary), relative, f"{relative}/below", f"{canary}/manifest.json", os.path.relpath(canary, place),
            os.path.relpath(canary, place / "artifacts"))  # fmt: skip
    value = ways[random.integers(len(ways))]
    if isinstance(key, str) and random.random() < 0.2:  # the name of a field, such as a file of a manifest
        holder[value] = holder.pop(key)
    else:
        holder[key] = value
    if isinstance(content, dict):
        content.pop("crc32", None)  # what has no checksum is taken as it is
    path.write_text(json.dumps(content))
    return f"{path.relative_to(place)}: {key} is {value}"


def _texts(content: Any) -> Iterator[tuple[Any, Any]]:
    """Where texts stand in JSON: what holds them, and under which key."""
    items = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for key, value in list(items):
        if isinstance(value, str) and key not in MEANT:
            yield content, key
        yield from _texts(value)


def _link(place: Path, below: str, canary: Path, random: np.random.Generator) -> str:
    """A file or folder becomes a link to one of the canary's."""
    paths = sorted(path for part in (below, "artifacts") for path in (place / part).rglob("*"))
    path = paths[random.integers(len(paths))]
    target = canary if path.is_dir() else canary / "tokens.bin"
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(target)
    return f"{path.relative_to(place)} is a link to {target.name}"
