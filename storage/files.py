"""Files that appear whole or not at all, and one writer at a time."""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from errors import InputError

# What a process leaves of a file that it was killed in writing: `.NAME.PROCESS`.
LEFTOVER = re.compile(r"\.(.+)\.([1-9][0-9]*)", re.DOTALL)
# Of libraries that lose the error number: numpy on a short write; orbax, TensorStore and FAISS.
DISK_FULL = re.compile(r"^(Not enough free space|\d+ requested and \d+ written)|No space left on device")


def is_disk_full(error: BaseException) -> bool:
    """Whether the disk is full, or the user's share of it: by the error's number, or by its message."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or bool(DISK_FULL.search(str(error)))


def regular(path: Path) -> Path:
    """`path`, where a file lies there: a pipe or a device could keep its reader waiting for ever.

    Raises:
        OSError: there is none, or something else than a file.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is a folder, a pipe or a device, not a file", str(path))
    return Path(path)


def no_link(path: Path) -> Path:
    """`path`, where a file lies there and no link to one: in a folder that somebody else wrote it may lead
    anywhere.

    Raises:
        OSError: there is none, or something else.
    """
    if os.path.islink(path):
        raise OSError(errno.ELOOP, "it is a link: put the file itself in its place", str(path))
    return regular(path)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits."""
    with open(regular(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes | str) -> None:
    """Writes a file so that a reader, or a kill, sees the old content or the new one, never a part."""
    with replacing(path) as temporary:
        with open(temporary, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """An empty file beside `path` that takes its place when the context ends, unless by an exception. What
    killed processes left of theirs in the folder goes first.
    """
    path = Path(path)
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "wb", opener=not_through_a_link) as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # which says to all machines that its process lives
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Removes what processes that are no more left beside `path`, of this file or of another one there."""
    for entry in list(os.scandir(path.parent)):
        match = LEFTOVER.fullmatch(entry.name)
        if match and (match[1] == path.name or path.with_name(match[1]).exists()):
            if not _lives(int(match[2])) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError), open(entry.path, "rb") as leftover:
                    fcntl.flock(leftover, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.path)


def _lives(process: int) -> bool:
    """Whether another process of this machine has this number."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return process != os.getpid()


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Holds an exclusive lock on a file that it makes; the system releases it when the process ends, however
    it ends.

    Raises:
        BlockingIOError: another process holds it, and `wait` is false.
        InputError: something else than a file lies there.
    """
    try:
        file = open(path, "a", opener=not_through_a_link)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        raise InputError(
            f"{path}, which processes take turns by, is a link or a pipe and not a file. Remove it and run "
            "the command again."
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def not_through_a_link(path: str, flags: int) -> int:
    """Opens a file that is to be written, which in a folder of somebody else's must not be one elsewhere."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
