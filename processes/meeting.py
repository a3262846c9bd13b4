"""How the processes of a run meet at the coordinator's address, and compare what they are about to run.

Whoever knocks there first proves that it knows the run's token, and process 0 proves the same to it; the
token itself is never sent. What follows is neither signed nor hidden: the token keeps strangers out of the
meeting, and not those who can change what goes over the network.
"""

import contextlib
import hmac
import ipaddress
import json
import queue
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TextIO

from errors import InputError

# A network that is cut closes nothing: the kernel asks after 5 s of silence, and gives up after three times.
KEEP_ALIVE = {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
FAREWELL_SECONDS = 5  # for what a process that lives sends at once

GREETING = {"process", "count", "alike"}
TOKEN = "MEETING_TOKEN"  # the environment variable
KNOCK_SECONDS = 0.05  # between looks at who has proved to be one of us
SHORT = 1024  # characters that are read of somebody who has proved nothing

Alike = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Member:
    """Which of how many processes this is, and where they meet. local_devices: None for all. token: what all
    processes of the run know, and nobody else.
    """

    address: str
    count: int
    process: int
    local_devices: Sequence[int] | None = None
    token: str = field(default="", repr=False)

    @property
    def host_and_port(self) -> tuple[str, int]:
        host, _, port = self.address.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def on_one_machine(self) -> bool:
        """Whether they meet at an address that no other machine reaches."""
        host, _ = self.host_and_port
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:  # a name
            return False


class Connection(NamedTuple):
    """A socket, and the lines that come over it."""

    socket: socket.socket
    lines: TextIO

    def send(self, message: Mapping[str, Any]) -> None:
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, at_most: int = -1) -> dict[str, Any] | None:
        """The next message; None where the connection is closed, or brings something else, or more than
        `at_most` characters.
        """
        try:
            message = json.loads(self.lines.readline(at_most))
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
    proved: queue.SimpleQueue[tuple[dict[str, Any], Connection]] = queue.SimpleQueue()
    refused: list[str] = []
    problem = None
    with _listener(member) as listener:
        listener.settimeout(KNOCK_SECONDS)
        while problem is None and len(arrived) < member.count - 1:
            with contextlib.suppress(TimeoutError):
                knocking = listener.accept()  # heard in a thread: who says nothing keeps nobody waiting
                threading.Thread(target=_hear, args=(*knocking, member, proved, refused), daemon=True).start()
            while problem is None and not proved.empty():
                greeting, connection = proved.get()
                problem = _misnumbered(member, greeting, {other["process"] for other, _ in arrived})
                arrived.append((greeting, connection))
            if problem is None and len(arrived) < member.count - 1 and time.monotonic() > deadline:
                problem = _missing(member, {greeting["process"] for greeting, _ in arrived}, timeout, refused)
    alikes = {0: alike} | {greeting["process"]: greeting["alike"] for greeting, _ in arrived}
    problem = problem or first_differences(alikes)
    for _, connection in arrived:
        with contextlib.suppress(OSError):
            connection.send({"problem": problem})
            connection.socket.settimeout(None)
    if problem:
        raise InputError(problem)
    return {greeting["process"]: connection for greeting, connection in arrived}


def _hear(
    knocking: socket.socket, place: tuple, member: Member, proved: queue.SimpleQueue, refused: list[str]
) -> None:
    """Puts the greeting of one who knows the token into `proved`, and the host of another into `refused`."""
    connection = _connection(knocking, FAREWELL_SECONDS)
    with contextlib.suppress(OSError, UnicodeError):
        challenge = secrets.token_hex()
        connection.send({"challenge": challenge})
        answer = connection.receive(SHORT) or {}
        theirs, proof = str(answer.get("challenge")), str(answer.get("proof"))
        if hmac.compare_digest(proof.encode(), _proof(member, "other", challenge, theirs).encode()):
            connection.send({"proof": _proof(member, "leader", theirs, challenge)})
            greeting = connection.receive()
            if greeting is not None and greeting.keys() == GREETING:
                proved.put((greeting, connection))
                return
        elif answer:  # and not somebody who looked whether the port is open
            refused.append(place[0])
            print(f"A process at {place[0]} was refused: its {TOKEN} is not this run's.", file=sys.stderr)
            connection.send({"refused": True})
    connection.close()


def _proof(member: Member, who: str, asked: str, asking: str) -> str:
    """That `who` knows the token, for these two challenges: what one side says, the other cannot say back."""
    return hmac.new(member.token.encode(), f"{who} {asked} {asking}".encode(), "sha256").hexdigest()


def _missing(member: Member, arrived: set[int], timeout: float, refused: Sequence[str]) -> str:
    missing = [process for process in range(1, member.count) if process not in arrived]
    strangers = f" Refused for another {TOKEN}: {', '.join(sorted(set(refused))[:3])}." if refused else ""
    return (
        f"After {timeout:.0f} s {_listed(missing)} of {member.count} did not come to the coordinator at "
        f"{member.address}.{strangers} Start all processes, and give all the same address and {TOKEN}."
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
    _prove(member, connection)
    connection.send({"process": member.process, "count": member.count, "alike": alike})
    connection.socket.settimeout(2 * timeout)  # the leader may have come late, and waits for all
    answer = connection.receive()
    if answer is None or "problem" not in answer:
        raise _not_the_leader(member)
    if answer["problem"]:
        raise InputError(answer["problem"])
    connection.socket.settimeout(None)
    return {0: connection}


def _prove(member: Member, connection: Connection) -> None:
    """Shows the leader that this process knows the token, and has it show the same."""
    asked, challenge = connection.receive(SHORT), secrets.token_hex()
    if asked is None or "challenge" not in asked:
        raise _not_the_leader(member)
    proof = _proof(member, "other", str(asked["challenge"]), challenge)
    connection.send({"challenge": challenge, "proof": proof})
    answer = connection.receive(SHORT) or {}
    if "refused" in answer:
        raise InputError(
            f"Process 0 at {member.address} refuses process {member.process}: its {TOKEN} is another one. "
            "Give all processes the same."
        )
    expected = _proof(member, "leader", challenge, str(asked["challenge"]))
    if not hmac.compare_digest(str(answer.get("proof")).encode(), expected.encode()):
        raise _not_the_leader(member)


def _not_the_leader(member: Member) -> InputError:
    return InputError(
        f"What listens at the coordinator's address {member.address} is not process 0 of this run, or it "
        "stopped. Its own output says why; or give JAX_COORDINATOR_ADDRESS another port."
    )


def _listener(member: Member) -> socket.socket:
    host, port = member.host_and_port
    both = socket.has_dualstack_ipv6() and not member.on_one_machine
    try:
        if member.on_one_machine:
            family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            return socket.create_server(place[:2], family=family)
        # The name of a machine may be another address in its own files than in those of the others.
        return socket.create_server(
            ("", port), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both
        )
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
