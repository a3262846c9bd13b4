"""The processes of a run, connected (`processes.meeting`) until they end together.

The leader (process 0) listens at the coordinator's address until all have come, and keeps a connection to
each. On a connection come lines of JSON: a greeting, the leader's answer, what is shared on the way, and in
the end a farewell, or the error that this process, hence the run, ends with. One that closes without either
was a process that died. Its number then reaches the others at once, where JAX would tell them later, or of a
failed collective.

JAX ends processes, too, when its coordination service is lost, from native code that nothing can precede. So
that these do not go without a word, a shell waits with each process and says it when the process has not.
"""

import contextlib
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from processes.meeting import FAREWELL_SECONDS, Alike, Member, await_all, greet

LOST = 1  # exit code
RESUME = (
    "What was saved is kept: start all processes again with the same command, and the run resumes from its "
    "newest checkpoint."
)


class Team:
    """This process's connections: to every other in the leader, elsewhere to the leader.

    Args:
      alike: what must be the same in all, by kind and name.
      timeout: seconds within which all must have come.

    Raises:
      InputError: the leader cannot be reached, a process does not come, or they differ: which, and in what.
    """

    def __init__(self, member: Member, alike: Alike, timeout: float):
        self._name = f"Process {member.process} of {member.count} ({socket.gethostname()})"
        self._leads = member.process == 0
        self._connections = (await_all if self._leads else greet)(member, alike, timeout)
        self._ending = threading.Lock()
        self._stay_silent = last_words(
            f"error: {self._name} was killed, or JAX ended it because another process was lost, most likely "
            f"process 0. {RESUME}"
        )
        self._shared = {process: queue.SimpleQueue() for process in self._connections}
        self._watchers = [
            threading.Thread(target=self._watch, args=(process,), daemon=True)
            for process in self._connections
        ]
        for watcher in self._watchers:
            watcher.start()

    def gather(self, name: str, value: Any) -> list[Any]:
        """Every process's `value`, of JSON, by its number; waits for all, however long. `name` is where in
        the program this is.
        """
        if not self._leads:
            self._tell({"name": name, "share": value})
            return self._shared[0].get()["shares"]
        shares = [value]
        for process in sorted(self._connections):
            message = self._shared[process].get()
            if message["name"] != name:
                raise RuntimeError(f"process {process} is at {message['name']!r}, process 0 at {name!r}")
            shares.append(message["share"])
        self._tell({"shares": shares})
        return shares

    def farewell(self) -> None:
        """Says that this process has done its work: the others no longer miss it."""
        self._tell({"farewell": True})
        self._stay_silent()

    def await_verdict(self) -> None:
        """Gives another thread the time to end this process because another one died: what is raised out of a
        collective is mostly a consequence of that, and says less.
        """
        time.sleep(FAREWELL_SECONDS)

    def end(self, message: str, code: int) -> NoReturn:
        """Ends this process with `message` on stderr and the exit code, and the others of the run with it."""
        if not self._ending.acquire(blocking=False):
            threading.Event().wait()  # another thread is ending the process
        self._leave(message, {"end": f"{self._name} ended the run: {message}", "code": code})

    def _watch(self, process: int) -> None:
        """Reads what `process` sends until its connection closes, and ends this one if it ended badly."""
        missed = True
        while message := self._connections[process].receive():
            missed = missed and "farewell" not in message
            if "share" in message or "shares" in message:
                self._shared[process].put(message)
            if "end" in message and self._ending.acquire(blocking=False):
                self._leave(message["end"], message)
        if missed and self._ending.acquire(blocking=False):
            lost = f"error: Process {process} of this run is gone. {RESUME}"
            self._leave(lost, {"end": lost, "code": LOST})

    def _leave(self, words: str, message: Mapping[str, Any]) -> NoReturn:
        """Not by Python's usual way, on which JAX would wait for processes that no longer answer."""
        print(f"\n{words}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        self._stay_silent()
        self._tell(message)
        if self._leads:  # with it goes JAX's coordination service: the others go first
            deadline = time.monotonic() + FAREWELL_SECONDS
            for watcher in self._watchers:
                if watcher is not threading.current_thread():
                    watcher.join(max(0.0, deadline - time.monotonic()))
        os._exit(message["code"])

    def _tell(self, message: Mapping[str, Any]) -> None:
        for connection in self._connections.values():
            with contextlib.suppress(OSError):
                connection.send(message)


def last_words(words: str) -> Callable[[], None]:
    """Has a shell say what became of this process when it ends, unless the function returned was called."""
    shell = subprocess.Popen(
        ["sh", "-c", 'read -r farewell || printf "\\n%s\\n" "$0" >&2', words],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip

    def stay_silent() -> None:
        with contextlib.suppress(OSError, ValueError):  # sent before
            shell.stdin.write(b"\n")
            shell.stdin.close()
            shell.wait()

    return stay_silent
