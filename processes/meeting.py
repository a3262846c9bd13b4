"""How the processes of a run meet at the coordinator's address, and compare what they are about to run."""

import contextlib
import json
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TextIO

from errors import InputError

# A network that is cut closes nothing: the kernel asks after 5 s of silence, and gives up after three times.
KEEP_ALIVE = {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
FAREWELL_SECONDS = 5  # for what a process that lives sends at once

GREETING = {"process", "count", "alike"}

Alike = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Member:
    """Which of how many processes this is, and where they meet. local_devices: None for all."""

    address: str
    count: int
    process: int
    local_devices: Sequence[int] | None = None

    @property
    def host_and_port(self) -> tuple[str, int]:
        host, _, port = self.address.rpartition(":")
        return host.strip("[]"), int(port)


class Connection(NamedTuple):
    """A socket, and the lines that come over it."""

    socket: socket.socket
    lines: TextIO

    def send(self, message: Mapping[str, Any]) -> None:
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> dict[str, Any] | None:
        """The next message; None where the connection is closed, or brings something else."""
        try:
            message = json.loads(self.lines.readline())
        except (OSError, ValueError):
            return None
        return message if isinstance(message, dict) else None

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


def await_all(member: Member, alike: Alike, timeout: float) -> dict[int, Connection]:
    """The leader's side of the meeting: a connection to every other process."""
    deadline = time.monotonic() + timeout
    arrived: list[tuple[dict[str, Any], Connection]] = []
    problem = None
    with _listener(member) as listener:
        while problem is None and len(arrived) < member.count - 1:
            listener.settimeout(max(1e-3, deadline - time.monotonic()))
            try:
                connection = _connection(listener.accept()[0], FAREWELL_SECONDS)
            except TimeoutError:
                problem = _missing(member, {greeting["process"] for greeting, _ in arrived}, timeout)
                break
            greeting = connection.receive()
            if greeting is None or greeting.keys() != GREETING:
                connection.close()  # somebody who came to the wrong address
                continue
            problem = _misnumbered(member, greeting, {other["process"] for other, _ in arrived})
            arrived.append((greeting, connection))
    alikes = {0: alike} | {greeting["process"]: greeting["alike"] for greeting, _ in arrived}
    problem = problem or first_differences(alikes)
    for _, connection in arrived:
        with contextlib.suppress(OSError):
            connection.send({"problem": problem})
            connection.socket.settimeout(None)
    if problem:
        raise InputError(problem)
    return {greeting["process"]: connection for greeting, connection in arrived}


def _missing(member: Member, arrived: set[int], timeout: float) -> str:
    missing = [process for process in range(1, member.count) if process not in arrived]
    return (
        f"After {timeout:.0f} s {_listed(missing)} of {member.count} did not come to the coordinator at "
        f"{member.address}. Start all processes, and give all the same address."
    )


def _misnumbered(member: Member, greeting: Mapping[str, Any], arrived: set[int]) -> str | None:
    process, count = greeting["process"], greeting["count"]
    if count == member.count and process != 0 and process not in arrived:
        return None
    return (
        f"A process came to the coordinator at {member.address} as number {process} of {count}, where there "
        f"are {member.count}, and {_listed(sorted({0} | arrived))} had come. Give every process another "
        "JAX_PROCESS_ID and the same JAX_NUM_PROCESSES."
    )


def greet(member: Member, alike: Alike, timeout: float) -> dict[int, Connection]:
    """The others' side: a connection to the leader."""
    connection = _reach(member, timeout)
    connection.send({"process": member.process, "count": member.count, "alike": alike})
    connection.socket.settimeout(2 * timeout)  # the leader may have come late, and waits for all
    answer = connection.receive()
    if answer is None or "problem" not in answer:
        raise InputError(
            f"What listens at the coordinator's address {member.address} is not process 0 of this run, or it "
            "stopped. Its own output says why; or give JAX_COORDINATOR_ADDRESS another port."
        )
    if answer["problem"]:
        raise InputError(answer["problem"])
    connection.socket.settimeout(None)
    return {0: connection}


def _listener(member: Member) -> socket.socket:
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", member.host_and_port[1]), family=family, dualstack_ipv6=both)
    except OSError as error:
        raise InputError(
            f"Process 0 cannot listen at the coordinator's address {member.address}: {error.strerror}. Give "
            "JAX_COORDINATOR_ADDRESS another port, the same to every process."
        ) from error


def _reach(member: Member, timeout: float) -> Connection:
    deadline = time.monotonic() + timeout
    while True:
        left = max(0.1, deadline - time.monotonic())
        try:
            connected = socket.create_connection(member.host_and_port, timeout=left)
            # Knocking at a port of one's own machine that nobody listens at may reach the caller itself.
            if connected.getsockname() != connected.getpeername():
                return _connection(connected, left)
            connected.close()
        except OSError as error:
            reason = error.strerror or "no answer"
            if time.monotonic() + 0.2 > deadline:
                raise InputError(
                    f"Process {member.process} of {member.count} could not reach the coordinator at "
                    f"{member.address} for {timeout:.0f} s ({reason}). Check that process 0 runs, that "
                    "this is the address of its machine, and that no firewall closes the port."
                ) from error
        time.sleep(0.2)


def _connection(connected: socket.socket, timeout: float) -> Connection:
    for name, value in KEEP_ALIVE.items():
        if hasattr(socket, name):
            level = socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP
            connected.setsockopt(level, getattr(socket, name), value)
    connected.settimeout(timeout)
    return Connection(connected, connected.makefile("r", encoding="utf-8"))


def first_differences(alikes: Mapping[int, Alike], at_most: int = 3) -> str | None:
    """In what the processes of `alikes` differ, in words; None where they do not."""
    for kind in sorted({kind for alike in alikes.values() for kind in alike}):
        differences = []
        for name in sorted({name for alike in alikes.values() for name in alike.get(kind, {})}):
            where = {}
            for process, alike in sorted(alikes.items()):
                where.setdefault(alike.get(kind, {}).get(name, "absent"), []).append(process)
            if len(where) > 1:
                values = [f"{value} in {_listed(members)}" for value, members in where.items()]
                differences.append(f"{name} is {' and '.join(values)}")
        if differences:
            more = f"; and {len(differences) - at_most} more" if len(differences) > at_most else ""
            return (
                f"The processes of this run do not have the same {kind}: "
                f"{'; '.join(differences[:at_most])}{more}. Start all with the same command, from the same "
                "commit, with the same versions."
            )
    return None


def _listed(processes: Iterable[int], at_most: int = 8) -> str:
    numbers = list(processes)
    listed = ", ".join(map(str, numbers[:at_most])) + (", ..." if len(numbers) > at_most else "")
    return f"process{'es' if len(numbers) > 1 else ''} {listed}"
