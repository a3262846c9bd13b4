"""Commands in processes that start at once: children of a server that has imported everything and computed
nothing yet.
"""

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.chaos.canary import watch

SECONDS = 600  # after which a child that should have ended is said to hang
WRITES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate")


@dataclass(frozen=True)
class End:
    """How a child ended. code: of its exit, negative for a signal; None where it hung. said: its output."""

    code: int | None
    said: str

    @property
    def traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.said


class Child:
    """`act(*arguments)` in a process of its own group, so that all that it starts can be ended with it.

    Args:
      act: a module's function; what it raises ends the child as it would end a command.
      dies_at: kills itself before so manieth of its changes to the file system, where given.
      outside: a folder of which it says when it looks into it (tests.chaos.canary).
    """

    def __init__(
        self,
        act: Callable[..., None],
        *arguments,
        log: Path,
        dies_at: int | None = None,
        outside: Path | None = None,
    ):
        self.log = log
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.chaos.jobs"])
        self._process = context.Process(target=_run, args=(act, arguments, str(log), dies_at, outside))
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def running(self) -> bool:
        return self._process.is_alive()

    def workers(self) -> list[psutil.Process]:
        """The Python processes that it started and that work, by their numbers."""
        working = []
        for process in self._family()[1:]:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                line = " ".join(process.cmdline())
                if "spawn_main" in line or "ray::" in line:
                    working.append(process)
        return sorted(working, key=lambda process: process.pid)

    def kill(self) -> None:
        """With all that it started."""
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.join()

    def orphans(self) -> list[psutil.Process]:
        """What it started and what still runs."""
        return [process for process in self._started if process.is_running()]

    def end(self, seconds: float = SECONDS) -> End:
        """Waits for its end."""
        self._process.join(seconds)
        hung = self._process.is_alive()
        if hung:
            self.kill()
        said = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return End(None if hung else self._process.exitcode, said)

    def remember_family(self) -> None:
        """For `orphans`."""
        self._started = self._family()[1:]

    def _family(self) -> list[psutil.Process]:
        try:
            process = psutil.Process(self._process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def _run(
    act: Callable[..., None], arguments: tuple, log: str, dies_at: int | None, outside: Path | None
) -> None:
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    faulthandler.dump_traceback_later(SECONDS - 10, file=sys.stderr)  # where it hangs, should it
    if outside is not None:
        watch(str(outside))
    if dies_at is not None:
        _die_at(dies_at)
    try:
        act(*arguments)
    except SystemExit as ended:
        os._exit(_flushed(ended.code if isinstance(ended.code, int) else int(ended.code is not None)))
    except KeyboardInterrupt:  # before the command could know of it
        os._exit(_flushed(130))
    except BaseException:
        traceback.print_exc()
        os._exit(_flushed(1))
    os._exit(_flushed(0))


def _flushed(code: int) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _die_at(number: int) -> None:
    left, lock = number, threading.Lock()

    def watch(event: str, arguments: tuple) -> None:
        nonlocal left
        if event not in WRITES:
            return
        if event == "open" and (len(arguments) < 3 or not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)):
            return
        with lock:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def wait_until(holds: Callable[[], bool], seconds: float) -> bool:
    """Whether it came to hold within so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
