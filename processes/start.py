"""Many processes, one run: the same command started once per machine, or once per process.

They meet at the coordinator's address and compare what they are about to run (`processes.meeting`), then
`jax.distributed` takes the address over and joins their devices. In one process everything here does nothing.
"""

import hashlib
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from jax._src.clusters import ClusterEnv  # no public function says where a cluster meets without joining it

from errors import InputError
from processes.meeting import TOKEN, Alike, Member
from processes.team import Team

VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
HELP = (
    f"In many processes: this command in each, with {', '.join(VARIABLES)} (a cluster's launcher may say "
    f"these) and {TOKEN}, a secret that all know. At a loopback address they listen to this machine alone, "
    "elsewhere to the network, where JAX's own connections ask for no secret: see docs/scale.md."
)
SHORTEST_TOKEN = 16  # characters; nobody guesses 64 random bits by knocking
MEETING_SECONDS = 60
HEARTBEAT_SECONDS = 20  # JAX's own watch, for a machine whose network is cut

_team: Team | None = None  # None in a process of its own


def start(alike: Alike, timeout: float = MEETING_SECONDS) -> Team | None:
    """Joins the other processes of the run where the environment says that there are any: by the variables
    JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, as a Slurm step, under Open MPI or on a TPU
    pod. To be called before anything touches a device. All have the same secret in MEETING_TOKEN, which keeps
    others out of the meeting; JAX's own coordinator, which follows at the same address, asks for none.

    Args:
      alike: what every process must have in common, by kind and name, such as {"code": code_hashes()}.
      timeout: seconds within which all must have come.

    Returns:
      What ends the processes together; None where this is the only one.

    Raises:
      InputError: the environment is incomplete or has no token, the coordinator cannot be reached, a process
        does not come, or the processes differ: which, and in what.
    """
    global _team
    member = membership(os.environ)
    if member is None:
        return None
    if len(member.token) < SHORTEST_TOKEN:
        raise InputError(
            f"{TOKEN} {f'has {len(member.token)} characters' if member.token else 'is not set'}: whoever "
            f"reaches {member.address} could join this run or end it. Give all processes the same secret of "
            f"at least {SHORTEST_TOKEN} characters, such as export {TOKEN}=$(openssl rand -hex 16)."
        )
    _team = Team(member, alike, timeout)
    # JAX's preemption service would take SIGTERM, which training.interruption answers.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        member.address, member.count, member.process, member.local_devices,
        cluster_detection_method="deactivate", initialization_timeout=max(1, round(timeout)),
        heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        coordinator_bind_address=member.address if member.on_one_machine else None,  # None: all addresses
    )  # fmt: skip
    return _team


def membership(environment: Mapping[str, str]) -> Member | None:
    """What the environment says about this process; None where it is the only one.

    Raises:
      InputError: it says only a part, or nonsense.
    """
    if any(environment.get(name) for name in VARIABLES):
        member = _explicit(environment)
    else:
        address, count, process, devices = ClusterEnv.auto_detect_unset_distributed_params(
            *[None] * 5, MEETING_SECONDS
        )
        member = Member(address, count or 1, process, devices, environment.get(TOKEN, ""))
    return member if member.count > 1 else None


def _explicit(environment: Mapping[str, str]) -> Member:
    missing = [name for name in VARIABLES if not environment.get(name)]
    if missing:
        raise InputError(
            f"Of the variables that make this one of many processes, {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not set. Set all of {', '.join(VARIABLES)}, or none for "
            "a run in one process."
        )
    address, count, process = (environment[name].strip() for name in VARIABLES)
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise InputError(
            f"JAX_COORDINATOR_ADDRESS is {address!r}. Give the HOST:PORT of process 0, the same to every "
            "process, such as 10.0.0.1:8476."
        )
    if not (count.isdecimal() and process.isdecimal() and int(process) < int(count)):
        raise InputError(
            f"JAX_PROCESS_ID is {process!r} and JAX_NUM_PROCESSES {count!r}. Number the processes from 0 to "
            "one less than there are."
        )
    return Member(address, int(count), int(process), token=environment.get(TOKEN, "").strip())


def is_leader() -> bool:
    """Whether this process writes what only one may write."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits, however long, until every process has come here; `name` is the same for all."""
    _gather(name, None)


def any_process(flag: bool) -> bool:
    """Whether `flag` is true in any process; every process asks."""
    return any(_gather("any_process", flag))


def from_leader(measure: Callable[[], Any]) -> Any:
    """What `measure` gives in the leader, a value of JSON, in every process."""
    return _gather("from_leader", measure() if is_leader() else None)[0]


def num_machines() -> int:
    """How many different hosts the processes run on."""
    return len(set(_gather("num_machines", socket.gethostname())))


def _gather(name: str, value: Any) -> list[Any]:
    """Not by JAX's collectives: gloo gives up on a process that is half a minute late for the first one, and
    half an hour for another, which the preparation of a corpus may take.
    """
    return [value] if _team is None else _team.gather(name, value)


def code_hashes() -> dict[str, str]:
    """The hash of every Python file of the project but its tests, by path."""
    root = Path(__file__).parents[1]
    rooms = [package.parent for package in root.glob("*/__init__.py")]
    files = sorted([*root.glob("*.py"), *(file for room in rooms for file in room.rglob("*.py"))])
    return {
        file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        for file in files
    }
