"""What a kill leaves of a file goes at the next write, and only a file is read as one."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from errors import InputError
from storage.arrays import read_array
from storage.files import file_hash, locked, regular, replacing, write_atomic
from storage.json_files import read_json

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
WRITE_AND_WAIT = """
import signal, sys
from pathlib import Path
from storage.files import replacing

with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("written", flush=True)
    signal.pause()
"""


def writer(path: Path) -> subprocess.Popen:
    """A process that has written half of a file and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_AND_WAIT, str(path)], stdout=subprocess.PIPE, env=ENVIRONMENT
    )
    assert process.stdout.readline() == b"written\n"
    return process


def end(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("next_write", ["results.json", "other.json"])
def test_what_a_killed_process_left_goes_at_the_next_write_into_the_folder(tmp_path, next_write):
    write_atomic(tmp_path / "results.json", "old")
    process = writer(tmp_path / "results.json")
    end(process)
    leftover = tmp_path / f".results.json.{process.pid}"
    assert leftover.read_text() == "half" and (tmp_path / "results.json").read_text() == "old"
    write_atomic(tmp_path / next_write, "new")
    assert sorted(os.listdir(tmp_path)) == sorted({"results.json", next_write})


def test_what_a_living_process_writes_stays(tmp_path):
    process = writer(tmp_path / "results.json")
    try:
        write_atomic(tmp_path / "results.json", "another's")
        assert (tmp_path / f".results.json.{process.pid}").read_text() == "half"
    finally:
        end(process)


def test_what_another_machine_writes_stays(tmp_path):
    """Its process has no number here, but holds a lock on the file."""
    write_atomic(tmp_path / "results.json", "old")
    process = writer(tmp_path / "results.json")
    end(process)
    leftover = tmp_path / f".results.json.{process.pid}"
    with open(leftover) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write_atomic(tmp_path / "results.json", "new")
        assert leftover.exists()
    write_atomic(tmp_path / "results.json", "new")
    assert not leftover.exists()


def test_what_older_code_writes_without_a_lock_stays_while_its_process_lives(tmp_path):
    (tmp_path / f".results.json.{os.getppid()}").touch()
    write_atomic(tmp_path / "results.json", "new")
    assert (tmp_path / f".results.json.{os.getppid()}").exists()


def test_other_files_whose_names_end_with_a_number_stay(tmp_path):
    gone = 2**22 + 1  # more than Linux gives
    names = [f".notes.{gone}", f".results.json.{gone}", f"results.json.{gone}", ".results.json.swp"]
    for name in names:
        (tmp_path / name).touch()
    write_atomic(tmp_path / "results.json", "new")
    assert sorted(os.listdir(tmp_path)) == sorted({*names, "results.json"} - {names[1]})


def test_what_is_written_goes_through_no_link(tmp_path):
    (tmp_path / "victim").write_text("kept")
    (tmp_path / f".results.json.{os.getpid()}").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError):
        with replacing(tmp_path / "results.json") as temporary:
            temporary.write_text("new")
    (tmp_path / ".lock").symlink_to(tmp_path / "victim")
    with pytest.raises(InputError, match=r"\.lock.* is a link or a pipe"):
        with locked(tmp_path / ".lock"):
            pass
    assert (tmp_path / "victim").read_text() == "kept"


@pytest.mark.parametrize("read", [regular, file_hash, read_json, read_array], ids=lambda read: read.__name__)
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match="not a file"):
            read(path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nowhere")


def test_a_lock_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(InputError, match="is a link or a pipe"):
        with locked(tmp_path / ".lock"):
            pass


def test_damaged_arrays_are_value_errors(tmp_path):
    """Whatever bit of the header is another, and wherever the file ends."""
    path, array = tmp_path / "array.npy", np.arange(7)
    np.save(path, array)
    whole = path.read_bytes()
    flipped = [
        whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
        for at in range(100)
        for bit in range(0, 8, 3)
    ]
    cut = [whole[:size] for size in range(0, len(whole), 5)]
    for content in flipped + cut:
        path.write_bytes(content)
        for mapped in (False, True):
            try:
                read_array(path, mapped)
            except ValueError:
                pass
    with open(path, "wb") as file:
        np.savez(file, array)
    with pytest.raises(ValueError, match="no array"):
        read_array(path)


def test_json_that_is_nested_too_deeply(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(tmp_path / "deep.json")
    write_atomic(tmp_path / "fine.json", json.dumps({"a": [1]}))
    assert read_json(tmp_path / "fine.json") == {"a": [1]}
