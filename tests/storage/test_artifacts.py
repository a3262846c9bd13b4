"""Artifacts are reused when whole, rebuilt when damaged, and never seen half-made."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import InputError
from storage.artifacts import artifact, fingerprint, first_damaged_file, require_whole
from storage.files import file_hash, write_atomic

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

texts = st.text(st.characters(codec="utf-8"), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


class CountingBuild:
    """Writes two files and counts how often it was asked to."""

    def __init__(self):
        self.calls = 0

    def __call__(self, folder):
        self.calls += 1
        (folder / "tokens.bin").write_bytes(b"\x01\x02\x03")
        (folder / "inner").mkdir()
        (folder / "inner" / "names.json").write_text("[]")


def visible(root):
    return sorted(path.name for path in root.iterdir() if not path.name.endswith(".lock"))


@given(json_values, json_values)
def test_equal_values_and_only_they_share_a_fingerprint(a, b):
    canonical = lambda value: json.dumps(value, sort_keys=True)
    assert (fingerprint(a) == fingerprint(b)) == (canonical(a) == canonical(b))


def test_fingerprint_of_dataclasses_bytes_and_files(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Settings:
        width: int
        name: str

    assert fingerprint(Settings(1, "a")) == fingerprint({"name": "a", "width": 1})
    assert fingerprint({"b": 1, "a": (1, 2)}) == fingerprint({"a": [1, 2], "b": 1})
    (tmp_path / "one").write_bytes(b"same")
    (tmp_path / "two").write_bytes(b"same")
    (tmp_path / "three").write_bytes(b"other")
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two") == fingerprint(b"same")
    assert fingerprint(tmp_path / "one") != fingerprint(tmp_path / "three")
    with pytest.raises(TypeError, match="object"):
        fingerprint(object())
    assert len(fingerprint(None)) == 16


def test_write_atomic_replaces_and_keeps_the_old_on_failure(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    write_atomic(path, "old")
    write_atomic(path, b"new")
    assert path.read_text() == "new"

    def fail(*_):
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="broken disk"):
        write_atomic(path, "newer")
    assert path.read_text() == "new"
    assert visible(tmp_path) == ["results.json"]


def test_second_call_reuses_and_other_inputs_build_anew(tmp_path):
    build = CountingBuild()
    first = artifact(tmp_path, "tokens", {"vocab_size": 512}, build)
    assert artifact(tmp_path, "tokens", {"vocab_size": 512}, build) == first
    assert build.calls == 1
    assert artifact(tmp_path, "tokens", {"vocab_size": 513}, build) != first
    assert build.calls == 2
    assert first.name == f"tokens-{fingerprint({'vocab_size': 512})}"


@pytest.mark.parametrize("name", ["tokens.bin", "inner/names.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["change", "remove"])
def test_damage_is_named_and_rebuilt(tmp_path, capsys, name, harm):
    build = CountingBuild()
    folder = artifact(tmp_path, "tokens", {}, build)
    before = file_hash(folder / "tokens.bin")
    if harm == "change":
        (folder / name).write_bytes(b"{")
    else:
        (folder / name).unlink()
    assert artifact(tmp_path, "tokens", {}, build) == folder
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and str(folder / name) in message
    assert build.calls == 2 and file_hash(folder / "tokens.bin") == before
    assert visible(tmp_path) == [folder.name]
    artifact(tmp_path, "tokens", {}, build)
    assert build.calls == 2


def test_failing_build_leaves_nothing_and_the_damaged_one_in_place(tmp_path):
    def fail(folder):
        (folder / "tokens.bin").write_bytes(b"half")
        raise RuntimeError("bug in the build")

    with pytest.raises(RuntimeError, match="bug in the build"):
        artifact(tmp_path, "tokens", {}, fail)
    assert visible(tmp_path) == []
    folder = artifact(tmp_path, "tokens", {}, CountingBuild())
    (folder / "tokens.bin").unlink()
    with pytest.raises(RuntimeError):
        artifact(tmp_path, "tokens", {}, fail)
    assert visible(tmp_path) == [folder.name] and (folder / "inner/names.json").exists()


KILLED_IN_BUILD = """
import signal, sys
from pathlib import Path
from storage.artifacts import artifact

def build(folder):
    (folder / "tokens.bin").write_bytes(b"half")
    print("building", flush=True)
    signal.pause()

artifact(Path(sys.argv[1]), "tokens", {}, build)
"""


def test_killed_build_leaves_no_artifact_and_the_next_one_cleans_up(tmp_path):
    command = [sys.executable, "-c", KILLED_IN_BUILD, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT)
    assert process.stdout.readline() == b"building\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    final = f"tokens-{fingerprint({})}"
    assert final not in visible(tmp_path) and visible(tmp_path) != []
    folder = artifact(tmp_path, "tokens", {}, CountingBuild())
    assert visible(tmp_path) == [final] and (folder / "tokens.bin").read_bytes() == b"\x01\x02\x03"


BUILT_TOGETHER = """
import sys, time
from pathlib import Path
from storage.artifacts import artifact

def build(folder):
    time.sleep(0.3)
    (folder / "tokens.bin").write_bytes(b"whole")
    print("built", flush=True)

artifact(Path(sys.argv[1]), "tokens", {}, build)
"""


def test_two_processes_build_once(tmp_path):
    command = [sys.executable, "-c", BUILT_TOGETHER, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) for _ in range(2)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(outputs) == [b"", b"built\n"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_the_users_to_mend(tmp_path, code):
    whole = artifact(tmp_path, "tokens", {}, CountingBuild())

    def fill_the_disk(folder):
        (folder / "embeddings.npy").write_bytes(b"half")
        raise OSError(code, os.strerror(code))

    with pytest.raises(InputError, match=r"(?s)full.*index.*Free some space") as caught:
        artifact(tmp_path, "index", {}, fill_the_disk)
    assert str(tmp_path) in str(caught.value)
    assert visible(tmp_path) == [whole.name]


def test_other_system_errors_are_not_taken_for_a_full_disk(tmp_path):
    def lose_a_file(folder):
        (folder / "absent").read_bytes()

    with pytest.raises(FileNotFoundError):
        artifact(tmp_path, "tokens", {}, lose_a_file)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_numpy_on_a_full_disk_is_recognised(tmp_path):
    def write_array(folder):
        with open("/dev/full", "wb") as file:
            np.save(file, np.zeros(100_000))

    with pytest.raises(InputError, match="full"):
        artifact(tmp_path, "embeddings", {}, write_array)


def test_a_folder_that_is_another_artifact_or_names_files_elsewhere_is_rebuilt(tmp_path, capsys):
    build = CountingBuild()
    ours, other = (artifact(tmp_path, "tokens", {"n": n}, build) for n in (1, 2))
    before = (ours / "manifest.json").read_bytes()
    for damage in (
        lambda: shutil.copy(other / "manifest.json", ours),
        lambda: edit(ours, lambda manifest: manifest["files"].update({"../victim": "0" * 64})),
        lambda: edit(ours, lambda manifest: manifest["files"].update({"tokens.bin": 7})),
        lambda: edit(ours, lambda manifest: manifest.update(files=[])),
    ):
        damage()
        assert first_damaged_file(ours) == "manifest.json"
        assert artifact(tmp_path, "tokens", {"n": 1}, build) == ours
        assert "manifest.json is damaged or missing" in capsys.readouterr().err
        assert (ours / "manifest.json").read_bytes() == before


def edit(folder: Path, change) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_files_that_need_not_be_compared_must_be_there(tmp_path):
    folder = artifact(tmp_path, "tokens", {}, CountingBuild())
    (folder / "tokens.bin").write_bytes(b"\x01\x02\x04")
    assert first_damaged_file(folder) == "tokens.bin"
    assert first_damaged_file(folder, ("tokens.bin",)) is None
    assert require_whole(folder, "", ("tokens.bin",)) == folder
    (folder / "tokens.bin").unlink()
    assert first_damaged_file(folder, ("tokens.bin",)) == "tokens.bin"
    with pytest.raises(InputError, match="tokens.bin is missing or damaged. Do something"):
        require_whole(folder, "Do something.", ("tokens.bin",))
