"""Files that appear whole or not at all, and one writer at a time."""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

# Of libraries that lose the error number: numpy on a short write; orbax, TensorStore and FAISS.
DISK_FULL = re.compile(r"^(Not enough free space|\d+ requested and \d+ written)|No space left on device")


def is_disk_full(error: BaseException) -> bool:
    """Whether the disk is full, or the user's share of it: by the error's number, or by its message."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or bool(DISK_FULL.search(str(error)))


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes | str) -> None:
    """Writes a file so that a reader, or a kill, sees the old content or the new one, never a part."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Holds an exclusive lock on a file that it makes; the system releases it when the process ends, however
    it ends.

    Raises:
        BlockingIOError: another process holds it, and `wait` is false.
    """
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
