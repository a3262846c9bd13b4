"""Processes of a run find one another or say why not, compare what they run, and end together.

`processes.team` needs no JAX: its processes here start in a moment. The last test joins JAX's.
"""

import contextlib
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from errors import InputError
from processes.meeting import Member, _listener, first_differences
from processes.start import any_process, barrier, code_hashes, is_leader, membership, start
from processes.team import Team
from tests.many_processes import ROOT, SECONDS, TOKEN, ends, environment, free_address, start_all

ALIKE = {"code": {"models/dense.py": "ab12"}, "configuration": {"--steps": "12"}}


# Who is one of how many.


def test_one_process_by_default(monkeypatch):
    assert membership({}) is None
    assert membership(environment("host:1", 1, 0)) is None
    assert start(ALIKE) is None
    barrier("in one process")
    assert is_leader() and any_process(True) and not any_process(False)


def test_the_three_variables():
    assert membership(environment("host:8476", 4, 3)) == Member("host:8476", 4, 3, token=TOKEN)
    assert Member("[::1]:8476", 2, 0).host_and_port == ("::1", 8476)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"JAX_PROCESS_ID": ""}, "JAX_PROCESS_ID is not set. Set all of JAX_COORDINATOR_ADDRESS"),
        ({"JAX_PROCESS_ID": "", "JAX_NUM_PROCESSES": ""}, "JAX_NUM_PROCESSES, JAX_PROCESS_ID are not set"),
        ({"JAX_COORDINATOR_ADDRESS": "host"}, "JAX_COORDINATOR_ADDRESS is 'host'. Give the HOST:PORT"),
        ({"JAX_COORDINATOR_ADDRESS": "host:x"}, "'host:x'"),
        ({"JAX_COORDINATOR_ADDRESS": "host:70000"}, "'host:70000'"),
        ({"JAX_PROCESS_ID": "2"}, "JAX_PROCESS_ID is '2' and JAX_NUM_PROCESSES '2'"),
        ({"JAX_PROCESS_ID": "-1"}, "from 0"),
        ({"JAX_NUM_PROCESSES": "two"}, "'two'"),
    ],
)
def test_variables_that_are_missing_or_nonsense(changed, message):
    with pytest.raises(InputError, match=message):
        membership(environment("host:8476", 2, 1) | changed)


def test_a_slurm_step(monkeypatch):
    step = {"JOB_ID": "7", "STEP_NODELIST": "node[003-006]", "NTASKS": "4", "PROCID": "2", "LOCALID": "0"}
    for name, value in step.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    member = membership({})
    assert (member.count, member.process) == (4, 2)
    assert member.host_and_port[0] == "node003" and 2**15 < member.host_and_port[1] < 2**16
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert membership({}) is None


# What they have in common.


def test_code_is_every_python_file_but_tests():
    paths = {path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.py"), *ROOT.glob("[!.]*/**/*.py")]}
    assert code_hashes().keys() == {path for path in paths if not path.startswith("tests/")}


def test_differences_name_the_field_and_the_processes():
    other = {**ALIKE, "configuration": {"--steps": "13"}}
    assert first_differences({0: ALIKE, 1: ALIKE}) is None
    assert (
        "do not have the same configuration: --steps is 12 in processes 0, 2 and 13 in process 1."
        in first_differences({0: ALIKE, 1: other, 2: ALIKE})
    )
    changed = {**ALIKE, "code": {"models/dense.py": "cd34", "models/new.py": "ef56"}}
    assert (
        "the same code: models/dense.py is ab12 in process 0 and cd34 in process 1; models/new.py is absent in "
        "process 0 and ef56 in process 1." in first_differences({0: ALIKE, 1: changed})
    )


def complaints(*members_and_alikes, timeout=SECONDS):
    """What each of several processes that meet at one address raises."""

    def meet(member, alike):
        with pytest.raises(InputError) as raised:
            Team(member, alike, timeout)
        return str(raised.value)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda pair: meet(*pair), members_and_alikes))


def test_all_are_told_in_what_they_differ():
    address = free_address()
    other = {**ALIKE, "code": {"models/dense.py": "cd34"}}
    alikes = [ALIKE, other, ALIKE]
    messages = complaints(*((Member(address, 3, i), alike) for i, alike in enumerate(alikes)))
    assert len(set(messages)) == 1
    assert "models/dense.py is ab12 in processes 0, 2 and cd34 in process 1" in messages[0]


def test_a_process_that_does_not_come_is_named():
    address = free_address()
    (message,) = complaints((Member(address, 3, 0), ALIKE), timeout=0.2)
    assert "processes 1, 2 of 3 did not come" in message and address in message


def test_a_coordinator_that_cannot_be_reached_is_named(monkeypatch):
    address = free_address()
    for name, value in environment(address, 2, 1).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"Process 1 of 2 could not reach the coordinator at {address}"):
        start(ALIKE, timeout=0.3)


def test_two_processes_of_one_number():
    address = free_address()
    messages = complaints(*((Member(address, 3, i), ALIKE) for i in (0, 1, 1)))
    assert all("as number 1 of 3" in message for message in messages[:1])


def test_a_port_that_is_taken():
    with socket.create_server(("", 0)) as taken:
        (message,) = complaints((Member(f"127.0.0.1:{taken.getsockname()[1]}", 2, 0), ALIKE))
    assert "cannot listen" in message and "another port" in message


def test_somebody_else_at_the_address():
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer():
            connection, _ = other.accept()
            connection.sendall(b"HTTP/1.0 400 Bad Request\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        (message,) = complaints((Member(f"127.0.0.1:{other.getsockname()[1]}", 2, 1), ALIKE))
        thread.join()
    assert "is not process 0 of this run" in message


# Who may speak: those who know the token.


def meeting(members, timeout=SECONDS):
    """What each of `members` that meet gets: a Team, or words."""

    def meet(member):
        try:
            return Team(member, ALIKE, timeout)
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(meet, members))


def part(teams):
    for team in teams:
        team.farewell()


def knock(address, *lines, silent=0):
    """Says `lines` to whoever listens at `address`; as many connections that say nothing stay open."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            open_ones = [
                socket.create_connection((host, int(port)), timeout=SECONDS) for _ in range(silent + 1)
            ]
            break
        except OSError:
            time.sleep(0.02)
    heard = b""
    with open_ones[0] as connection, contextlib.suppress(OSError):  # closed before all was said
        said = connection.makefile("rb")
        heard = said.readline()
        connection.sendall(b"".join(lines))
        heard += said.read()
    return heard, open_ones


GREETED = b'{"process": 1, "count": 2, "alike": {}}\n'


@pytest.mark.parametrize(
    "lines",
    [
        (GREETED,),
        (b'{"challenge": "1", "proof": "2"}\n', GREETED),
        (b"x" * 10**7,),
        (b"GET / HTTP/1.0\r\n\r\n",),
    ],
    ids=["no token", "another token", "no end", "a browser"],
)
def test_a_stranger_is_refused_and_the_others_meet(lines, capfd):
    address = free_address()
    members = [Member(address, 2, process, token=TOKEN) for process in range(2)]
    first = ThreadPoolExecutor().submit(lambda: meeting(members[:1]))
    heard, _ = knock(address, *lines)
    (joined,) = meeting(members[1:])
    (leads,) = first.result()
    assert isinstance(joined, Team) and isinstance(leads, Team)
    part([joined, leads])
    assert b"challenge" in heard and b"proof" not in heard


def test_another_token_is_told_to_both_sides(capfd):
    address = free_address()
    members = [Member(address, 2, 0, token=TOKEN), Member(address, 2, 1, token=TOKEN + "!")]
    missed, refused = meeting(members, timeout=5.0)
    assert refused == (
        f"Process 0 at {address} refuses process 1: its MEETING_TOKEN is another one. Give all processes the same."
    )
    assert (
        "process 1 of 2 did not come" in missed and "Refused for another MEETING_TOKEN: 127.0.0.1." in missed
    )
    assert "A process at 127.0.0.1 was refused" in capfd.readouterr().err


def test_who_says_nothing_keeps_nobody_waiting():
    address = free_address()
    members = [Member(address, 2, process, token=TOKEN) for process in range(2)]
    first = ThreadPoolExecutor().submit(lambda: meeting(members[:1]))
    _, open_ones = knock(address, silent=20)  # five seconds each, one after the other, were too many
    teams = [*meeting(members[1:]), *first.result()]
    assert all(isinstance(team, Team) for team in teams), teams
    part(teams)
    for connection in open_ones:
        connection.close()


def test_one_who_listens_in_the_leaders_place_does_not_learn_the_token():
    with socket.create_server(("127.0.0.1", 0)) as other:
        said = []

        def answer():
            connection, _ = other.accept()
            connection.sendall(b'{"challenge": "1"}\n')
            said.append(connection.makefile("rb").readline())
            connection.sendall(b'{"proof": "' + json.loads(said[0])["proof"].encode() + b'"}\n')  # said back
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        (message,) = meeting([Member(f"127.0.0.1:{other.getsockname()[1]}", 2, 1, token=TOKEN)])
        thread.join()
    assert "is not process 0 of this run" in message and TOKEN.encode() not in said[0]


@pytest.mark.parametrize("token, words", [("", "is not set"), ("short", "has 5 characters")])
def test_a_run_of_many_without_a_secret_is_refused(monkeypatch, token, words):
    for name, value in (environment("127.0.0.1:1", 2, 1) | {"MEETING_TOKEN": token}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"MEETING_TOKEN {words}: whoever reaches 127.0.0.1:1 could join"):
        start(ALIKE)


@pytest.mark.parametrize(
    "host, alone", [("127.0.0.1", True), ("[::1]", True), ("localhost", True), ("node3", False)]
)
def test_a_loopback_address_is_heard_from_this_machine_only(host, alone):
    member = Member(f"{host}:{free_address().rpartition(':')[2]}", 2, 0)
    assert member.on_one_machine == alone
    with _listener(member) as listener:
        assert (listener.getsockname()[0] in ("127.0.0.1", "::1")) == alone


# How they end. A process says "ready" once it has met the others, and does then as it is asked.

MEMBER = """
import os, signal, sys
from processes.meeting import Member
from processes.team import Team
from tests.many_processes import SECONDS
names = ("COORDINATOR_ADDRESS", "NUM_PROCESSES", "PROCESS_ID")
address, count, process = (os.environ[f"JAX_{name}"] for name in names)
member = Member(address, int(count), int(process))
team = Team(member, {"code": {"x.py": "1"}}, SECONDS)
print("ready", flush=True)
sys.stdin.readline() if member.process == int(sys.argv[1]) else signal.pause()
{"killed": lambda: os.kill(os.getpid(), signal.SIGKILL), "failed": lambda: team.end("error: bad", 2)}[sys.argv[2]]()
"""


@pytest.mark.parametrize("victim", [0, 2])
@pytest.mark.parametrize("how, code", [("killed", 1), ("failed", 2)])
def test_the_end_of_one_is_the_end_of_all(victim, how, code):
    processes = start_all(["-c", MEMBER, victim, how], count=3)
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    processes[victim].stdin.write("\n")
    processes[victim].stdin.flush()
    results = ends(processes)
    ended = results.pop(victim)
    for returned, _, errors in results:
        assert returned == code
        if how == "killed":
            assert f"Process {victim} of this run is gone" in errors and "with the same command" in errors
        else:
            assert f"Process {victim} of 3" in errors and "ended the run: error: bad" in errors
    if how == "failed":
        assert (ended[0], ended[2]) == (2, "\nerror: bad\n")
    else:
        assert f"Process {victim} of 3" in ended[2] and "was killed" in ended[2]


JOINED = """
import json, os, signal, sys
import jax, numpy as np
from jax.experimental import multihost_utils
from processes.start import any_process, barrier, from_leader, is_leader, num_machines, start
team = start({"code": {"x.py": "1"}})
me = jax.process_index()
barrier("here")
seen = [jax.device_count(), jax.local_device_count(), is_leader(), any_process(me == 1), any_process(False)]
seen += [from_leader(lambda: 0.1 + me), num_machines()]
print(json.dumps(seen), flush=True)
if sys.argv[1:] == [str(me)]:
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1:]:
    while True:
        multihost_utils.process_allgather(np.int32(0))
team.farewell()
"""


def test_joined_devices_flags_and_farewell():
    results = ends(start_all(["-c", JOINED]))
    for process, (code, printed, errors) in enumerate(results):
        assert (code, errors) == (0, "")
        assert json.loads(printed) == [8, 4, process == 0, True, False, 0.1, 1]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_death_amid_collectives_is_named(victim):
    """JAX may notice first that process 0 died, and abort: then a last word says most of it."""
    code, _, errors = ends(start_all(["-c", JOINED, victim]))[1 - victim]
    assert code != 0
    named = [f"Process {victim} of this run is gone", "another process was lost, most likely process 0"]
    assert any(words in errors for words in named[: 2 - victim])
    assert "start all processes again with the same command" in errors
