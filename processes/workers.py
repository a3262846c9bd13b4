"""Numbered pieces of work, shared out among spawned processes of this machine.

Spawned, not forked: FAISS and JAX hang in a forked process. Each worker has a pipe of its own to this process
and no lock in common with another, so that one may die at any moment; and it ends when that pipe does, hence
with this process, however it ends.
"""

import collections
import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from errors import InputError
from processes import host

FAREWELL_SECONDS = 10
RESUME = "What was finished is kept: run the same command again"


def share_out(
    open_task: Callable[[Any], Any], job: Any, numbers: Sequence[int], workers: int,
    progress: Callable[[int], object],
) -> None:  # fmt: skip
    """Each of `numbers` is made once, by `open_task(job).make(number, progress)` in one of `workers`
    processes, each of which opens the task once. Both are pickled: `open_task` is a function of a module.

    Raises:
        InputError: a worker raised one, or was ended from outside.
        RuntimeError: a worker raised anything else; its traceback is in the message.
    """
    workers = min(workers, len(numbers))
    threads = max(1, cores() // workers)
    context = multiprocessing.get_context("spawn")
    left, team, under_way = collections.deque(numbers), {}, {}
    try:
        for number in range(workers):
            ours, theirs = context.Pipe()
            name = f"Worker {number + 1} of {workers}"
            team[ours] = context.Process(
                target=_work, args=(theirs, open_task, job, threads), name=name, daemon=True
            )
            team[ours].start()
            theirs.close()
            under_way[ours] = left.popleft()
            _send(ours, under_way[ours])
        while under_way:
            ready: list[Any] = wait(list(under_way))
            for connection in ready:
                kind, value = _receive(connection, team[connection], under_way[connection])
                if kind == "progress":
                    progress(value)
                elif left:
                    under_way[connection] = left.popleft()
                    _send(connection, under_way[connection])
                else:
                    del under_way[connection]
        for connection, process in team.items():
            connection.close()
            process.join(FAREWELL_SECONDS)
    finally:
        for connection, process in team.items():
            connection.close()
            process.terminate()
            process.join()


def _send(connection: Connection, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # it has died: `_receive` says so
        connection.send(number)


def _receive(connection: Connection, process: Any, number: int) -> tuple[str, Any]:
    who = f"{process.name} (process {process.pid}), at shard {number},"
    try:
        kind, value = connection.recv()
    except (EOFError, ConnectionResetError):
        process.join(FAREWELL_SECONDS)
        code = process.exitcode
        killed = code is not None and code < 0
        how = f"was ended by signal {-code}" if killed else f"ended with exit code {code}"
        raise InputError(
            f"{who} {how}, as a system does that runs out of memory. {RESUME}, with fewer workers if "
            "memory is short."
        ) from None
    if kind == "bad input":
        raise InputError(f"{who} could not continue: {value}")
    if kind == "error":
        raise RuntimeError(f"{who} failed. {RESUME} when the cause is mended.\n\n{value}")
    return kind, value


def _work(connection: Connection, open_task: Callable[[Any], Any], job: Any, threads: int) -> None:
    """What a worker does: makes the numbers it is sent until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C meets all; the parent ends its workers
    limit_threads(threads)
    host.tune()
    try:
        task = open_task(job)
        while True:
            task.make(connection.recv(), lambda count: connection.send(("progress", count)))
            connection.send(("made", None))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent has ended, or has no more work
    except InputError as error:
        connection.send(("bad input", str(error)))
    except Exception:
        connection.send(("error", traceback.format_exc()))


def end_with_parent() -> None:
    """Has a process that `multiprocessing` started asked to stop (SIGTERM) once what started it is gone,
    however it ended: nobody else would, and what it goes on to write nobody waits for.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def limit_threads(threads: int) -> None:
    """This process's share of the cores, for libraries that have not started their threads yet.

    XLA and `cores` go by NPROC, the wordpiece tokenizer by RAYON_NUM_THREADS.
    """
    os.environ["NPROC"] = os.environ["RAYON_NUM_THREADS"] = str(threads)


def cores() -> int:
    """The CPU cores that this process may use."""
    if given := os.environ.get("NPROC"):
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
