"""Several processes of one run, as the tests start them."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOKEN = "of the tests, and no secret"
SECONDS = 1800  # after which a test says that something hangs; what a crowded machine takes is no fault


def free_address() -> str:
    """A port of this machine that nobody listens at, and that the kernel gives to nobody who asks for any.

    Every process that runs tests looks through the ports from a place of its own.
    """
    first = os.getpid() * 41
    for port in (20000 + (first + step) % 12000 for step in range(12000)):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
            try:
                probe.close()
                socket.create_server(("", port)).close()
            except OSError:
                continue
        return f"127.0.0.1:{port}"
    raise RuntimeError("no free port")


def environment(address: str, count: int, process: int, devices: int = 4) -> dict[str, str]:
    """The variables that make a process one of many."""
    return {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": str(count),
        "JAX_PROCESS_ID": str(process),
        "JAX_NUM_CPU_DEVICES": str(devices),
        "MEETING_TOKEN": TOKEN,
    }


def start(*arguments, cwd=ROOT, **variables) -> subprocess.Popen:
    """`python ARGUMENTS` in the checkout `cwd`."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_all(arguments, count=2, devices=4, **variables) -> list[subprocess.Popen]:
    """The same command in `count` processes that are to meet."""
    address = free_address()
    return [
        start(*arguments, **environment(address, count, process, devices), **variables)
        for process in range(count)
    ]


def ends(processes, seconds=SECONDS) -> list[tuple[int, str, str]]:
    """(exit code, stdout without gloo's own lines, stderr) of each; all are gone afterwards."""
    processes = list(processes)
    try:
        results = [(*process.communicate(timeout=seconds), process.returncode) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(code, re.sub(r"\[Gloo\][^\n]*\n", "", out), err) for out, err, code in results]
