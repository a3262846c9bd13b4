"""What ends a command: a paragraph and exit code 2 where the system or the environment is at fault."""

import dataclasses
import errno
import io
import sys
from pathlib import Path

import pytest

from command import command


@dataclasses.dataclass(frozen=True)
class Options:
    """Nothing to choose but a folder."""

    out: Path = Path("out")
    """Where to write."""


def ends_with(capsys, main, *arguments):
    """The exit code and the last paragraph of a command."""
    with pytest.raises(SystemExit) as stopped:
        command(main, Options, "", [*map(str, arguments)])
    return stopped.value.code, capsys.readouterr().err


@pytest.mark.parametrize("kind", ["a file", "below a file", "too long", "device"])
def test_a_folder_that_cannot_be_is_named(capsys, tmp_path, kind):
    (tmp_path / "file").touch()
    out = {
        "a file": tmp_path / "file", "below a file": tmp_path / "file" / "run",
        "too long": tmp_path / ("x" * 300), "device": "/dev/null/run",
    }[kind]  # fmt: skip
    code, said = ends_with(capsys, lambda options: options.out.mkdir(parents=True), "--out", out)
    assert code == 2 and str(out) in said and "another path" in said and "Traceback" not in said


def test_no_file_handles_left(capsys):
    def main(options):
        raise OSError(errno.EMFILE, "Too many open files")

    code, said = ends_with(capsys, main)
    assert code == 2 and "Too many open files" in said


def test_an_error_of_the_system_that_names_no_file_is_ours():
    def main(options):
        raise OSError(errno.EINVAL, "Invalid argument")

    with pytest.raises(OSError, match="Invalid argument"):
        command(main, Options, "", [])


@pytest.mark.parametrize("value", ["1", "True"])
def test_sixty_four_bits_are_refused_before_anything_is_done(capsys, monkeypatch, value):
    monkeypatch.setenv("JAX_ENABLE_X64", value)
    code, said = ends_with(capsys, lambda options: print("at work"))
    assert code == 2 and "JAX_ENABLE_X64" in said and "at work" not in said
    monkeypatch.setenv("JAX_ENABLE_X64", "0")
    command(lambda options: None, Options, "", [])


def test_a_terminal_without_utf_8_loses_no_run(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", terminal)
    command(lambda options: print("PaLM − Gopher"), Options, "", [])
    terminal.flush()
    assert terminal.buffer.getvalue().decode("latin-1").strip() == "PaLM \\u2212 Gopher"
