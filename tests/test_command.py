"""What ends a command: a paragraph and exit code 2 where the system, the environment or an empty value is at fault."""

import dataclasses
import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tyro.conf import UseAppendAction

from command import MAY_BE_EMPTY, command
from experiments import compare, generate, retrieval, sweep
from tests.many_processes import ROOT


@dataclasses.dataclass(frozen=True)
class Options:
    """Nothing to choose but a folder."""

    out: Path = Path("out")
    """Where to write."""


def ends_with(capsys, main, *arguments, options=Options):
    """The exit code and the last paragraph of a command."""
    with pytest.raises(SystemExit) as stopped:
        command(main, options, "", [*map(str, arguments)])
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


@dataclasses.dataclass(frozen=True)
class Several:
    out: Path = Path("runs/nothing")
    encoder: str | None = None
    corpus: UseAppendAction[tuple[str, ...]] = ()
    two_words: Path = Path("there")
    prompt: UseAppendAction[tuple[str, ...]] = dataclasses.field(default=(), metadata=MAY_BE_EMPTY)


def never(options):
    raise AssertionError("it must not run")


@pytest.mark.parametrize(
    "arguments, option",
    [
        (["--out", ""], "--out"),
        (["--out="], "--out"),
        (["--encoder", "", "--out", "there"], "--encoder"),
        (["--corpus", "notes", "--corpus", ""], "--corpus"),
        (["--two_words", ""], "--two_words"),
        (["--two-words="], "--two-words"),
        (["--prompt", "", "--out", ""], "--out"),
    ],
)
def test_an_empty_value_is_refused_by_the_options_name(arguments, option, capsys):
    code, said = ends_with(capsys, never, *arguments, options=Several)
    assert code == 2 and f"error: {option} is empty. Give a value" in said


def test_what_may_be_empty_and_the_working_directory_by_its_name(capsys):
    given = []

    def main(options):
        given.append(options)

    command(main, Several, "", ["--prompt", "", "--prompt=", "--out", ".", "--corpus", "=", "--encoder", "-"])
    assert given == [Several(Path("."), "-", ("=",), prompt=("", ""))]


@pytest.mark.parametrize(
    "options, arguments, option",
    [
        (compare.Options, [], "--corpus"),
        (compare.Options, [], "--out"),
        (compare.Options, [], "--artifacts"),
        (sweep.Options, [], "--cells"),
        (sweep.Options, [], "--artifacts"),
        (retrieval.VERBS, ["build"], "--corpus"),
        (retrieval.VERBS, ["build", "--corpus", "stdlib"], "--tokenizer"),
        (retrieval.VERBS, ["search", "--query", "x"], "--database"),
        (generate.Options, ["--run", "runs"], "--database"),
        (generate.Options, [], "--run"),
    ],
)
def test_no_command_takes_an_empty_path(options, arguments, option, capsys):
    code, said = ends_with(capsys, never, *arguments, option, "", options=options)
    assert code == 2 and f"{option} is empty" in said


def test_a_folder_whose_name_is_no_utf_8_is_refused_before_anything_is_made(capsys):
    """SentencePiece ended with a TypeError there, after a tokenizer was trained."""
    code, said = ends_with(capsys, never, "--out", "runs/caf\udce9", options=Several)
    assert code == 2 and "error: --out runs/caf\\udce9: the name of" in said and "is not UTF-8" in said


def test_a_device_that_is_asked_for_and_absent_is_named():
    program = (
        "import dataclasses\nfrom command import command\n"
        "@dataclasses.dataclass\nclass Options:\n    pass\n"
        "command(lambda options: None, Options, '', [])\n"
    )
    asked = {**os.environ, "JAX_PLATFORMS": "cuda", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", program], env=asked, capture_output=True, text=True)
    assert ended.returncode == 2 and "DEVICE=cuda13" in ended.stderr, ended.stderr
