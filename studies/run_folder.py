"""A folder belongs to one configuration, written into it at the start, and to all processes of a run."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from errors import InputError
from processes.start import barrier, is_leader
from storage.artifacts import first_difference
from storage.files import locked, write_atomic
from storage.json_files import read_json

FILE_NAME = "config.json"


def claim(folder: Path, config: Mapping) -> None:
    """Writes `config` into `folder`, or checks that what is there is the same. Of many processes the leader
    writes, and all check.

    Raises:
      InputError: the folder holds another configuration; the message names the first field that differs. Or
        the processes do not share it.
    """
    expected = json.loads(json.dumps(config))
    path = folder / FILE_NAME
    if is_leader() and not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(expected, indent=1))
    barrier(f"{folder} is claimed")
    if not path.exists():
        raise InputError(
            f"{path}, which process 0 wrote, is not there for another process. Put --out, and what else the "
            "command reads and writes, on a file system that all processes share, under the same path."
        )
    try:
        there = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is not JSON ({error}). Remove the folder {folder} to start anew."
        ) from error
    if difference := first_difference(there, expected):
        raise InputError(
            f"{folder} holds a run of another configuration: {difference}. Give another folder with --out, "
            "or remove this one."
        )


@contextmanager
def sole(folder: Path) -> Iterator[None]:
    """Within this context no other process that asks writes into `folder`.

    Raises:
      InputError: another one is writing there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / ".lock", wait=False):
            yield
    except BlockingIOError as error:
        raise InputError(
            f"Another run is writing its table into {folder}. Wait until it has ended, or give this one "
            "another --out; trials that both need are trained once."
        ) from error
