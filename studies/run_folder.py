"""A folder belongs to one configuration, written into it at the start, and to all processes of a run."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from errors import InputError
from processes.start import barrier, is_leader
from storage.artifacts import first_difference
from storage.files import locked
from storage.sealed import read_sealed, write_sealed

FILE_NAME = "config.json"


def require_free(folder: Path, config: Mapping) -> None:
    """Raises InputError where `folder` holds another configuration; the message names the first field that
    differs. Nothing is written: a mistake that is found later leaves the folder free.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return
    try:
        there = read_sealed(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}). Remove the folder {folder} to start anew.") from error
    if difference := first_difference(there, json.loads(json.dumps(config))):
        raise InputError(
            f"{folder} holds a run of another configuration: {difference}. Give another folder with --out, "
            "or remove this one."
        )


def claim(folder: Path, config: Mapping) -> None:
    """Writes `config` into `folder`, or checks that what is there is the same (`require_free`). Of many
    processes the leader writes, and all check.

    Raises:
      InputError: the folder holds another configuration, or the processes do not share it.
    """
    path = folder / FILE_NAME
    if is_leader() and not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_sealed(path, config)
    barrier(f"{folder} is claimed")
    if not path.exists():
        raise InputError(
            f"{path}, which process 0 wrote, is not there for another process. Put --out, and what else the "
            "command reads and writes, on a file system that all processes share, under the same path."
        )
    require_free(folder, config)


@contextmanager
def sole(folder: Path) -> Iterator[None]:
    """Within this context no other command that asks writes into `folder`. Of many processes of one command
    the leader asks.

    Raises:
      InputError: another one is writing there.
    """
    if not is_leader():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / ".lock", wait=False):
            yield
    except BlockingIOError as error:
        raise InputError(
            f"Another command is writing into {folder}. Wait until it has ended, or give this one another "
            "--out."
        ) from error
