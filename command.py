"""How every experiment is started: typed options, in one process or as one of many, and bad input that ends
in a paragraph instead of a traceback.
"""

import dataclasses
import errno
import io
import os
import platform
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import tyro

from errors import InputError
from processes import host
from processes.start import HELP, VARIABLES, code_hashes, membership, start
from processes.team import Team
from progress import printable
from storage.files import is_disk_full

OF_THE_PROCESS = (errno.EMFILE, errno.ENFILE, errno.EROFS)  # what the system says without a file's name
MAY_BE_EMPTY = {"may_be_empty": True}  # metadata of a field whose value may be the empty text


def command(
    main: Callable[[Any], None],
    options: Any,
    description: str,
    arguments: Sequence[str] | None = None,
    many_processes: bool = False,
) -> None:
    """Parses the command line into `options`, tunes the process (`processes.host`) and runs `main`; exit code
    2 for bad input, 130 when interrupted.

    Args:
      options: a dataclass, or a union of them, one per verb. An option is refused where its value is empty,
        unless its field says MAY_BE_EMPTY.
      many_processes: whether `main` may run in many (`processes.start`), of which what ends one ends
        all; others are refused where the environment says that this is one of many.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that is not of UTF-8 loses no run by it
            stream.reconfigure(errors="backslashreplace")
    module = sys.modules[main.__module__].__spec__
    name = module.name if module else main.__name__
    if many_processes:
        description = f"{description}\n\n{HELP}"
    parsed = tyro.cli(options, prog=f"python -m {name}", description=description, args=arguments)
    host.tune()
    team = None
    try:
        if os.environ.get("JAX_ENABLE_X64", "").lower() not in ("", "0", "false", "f", "no", "n", "off"):
            raise InputError("Models here have numbers of 32 bits or less: unset JAX_ENABLE_X64.")
        require_values(sys.argv[1:] if arguments is None else arguments, parsed)
        _require_utf8_paths(parsed)
        if many_processes:
            team = start(_alike(parsed))
        elif member := membership(os.environ):
            raise InputError(
                f"The environment says that this is process {member.process} of {member.count}, but "
                f"{name} runs in one: start it once, and without {', '.join(VARIABLES)} "
                "or the cluster's launcher."
            )
        _require_device(os.environ.get("JAX_PLATFORMS", ""))
        main(parsed)
    except InputError as error:
        _exit(team, f"error: {error}", 2)
    except OSError as error:
        if is_disk_full(error):
            _exit(
                team,
                f"error: The disk is full ({error.filename or 'while writing'}). What was finished is kept: "
                "free some space, or point --out and --artifacts elsewhere, and run the same command again.",
                2,
            )
        if error.filename is None and error.errno not in OF_THE_PROCESS:
            _unexpected(team)
        where = f"{error.filename}: " if error.filename is not None else ""
        _exit(
            team,
            f"error: {where}{error.strerror}. What was finished is kept: give another path, or mend this "
            "one, and run the same command again.", 2,
        )  # fmt: skip
    except KeyboardInterrupt:
        _exit(team, "stopped. The same command resumes from here.", 130)
    except Exception:
        _unexpected(team)
    if team:
        team.farewell()


def command_line(module: str) -> str:
    """How `python -m module` was started, quoted so that it can be pasted into a shell."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def require_positive(options: object, *names: str) -> None:
    """Raises InputError where one of these options is given and below 1, or beyond what 64 bits hold."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} {value}: give a whole number of at least 1.")
        if value is not None and value >= 2**63:
            raise InputError(f"--{name.replace('_', '-')} {str(value)[:20]}…: give a number below 2^63.")


UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}


def amount(text: str, option: str) -> int:
    """A number with or without a unit: "2B" -> 2,000,000,000, "0.25M" -> 250,000, "512" -> 512.

    Raises:
        InputError: it is none, or not a whole number of at least 1; the message names the option.
    """
    match = re.fullmatch(r"(\d+(?:_\d+)*(?:\.\d+)?(?:e\d+)?)([kmbt]?)", text.strip().lower())
    value = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not 1 <= value < 2**63 or round(value) != value:
        raise InputError(f"{option} {text}: give a whole number, such as 2B, 0.25M, 200k or 512.")
    return round(value)


def require_values(arguments: Sequence[str], parsed: Any) -> None:
    """Raises InputError where an option is given an empty value, as `--out "$FOLDER"` is where no FOLDER is
    set. A path would be read as the working directory, so that only the arguments themselves can tell.

    parsed: the dataclass that was made of them.
    """
    fields = [field for field in dataclasses.fields(parsed) if field.metadata == MAY_BE_EMPTY]
    may_be_empty = {f"--{field.name.replace('_', '-')}" for field in fields}
    option = "An argument"
    for argument in arguments:
        if argument.startswith("--"):
            option, equals, value = argument.partition("=")
            empty = bool(equals) and not value
        else:
            empty = not argument
        if empty and option.replace("_", "-") not in may_be_empty:
            raise InputError(f"{option} is empty. Give a value; a shell variable in its place is not set.")


def _require_device(platforms: str) -> None:
    """Raises InputError where JAX_PLATFORMS asks for an accelerator that JAX does not find."""
    if platforms in ("", "cpu"):
        return
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where no plugin knows the name
        because = f" ({error})" if str(error) else ""
        raise InputError(
            f"JAX_PLATFORMS={platforms} asks for a device that is not here{because}. For an NVIDIA GPU run "
            "`make setup DEVICE=cuda13`, or unset it to train on the CPU."
        ) from error


def _require_utf8_paths(parsed: Any) -> None:
    """SentencePiece, FAISS and orbax open no folder by a name that is not UTF-8."""
    for field in dataclasses.fields(parsed):
        path = getattr(parsed, field.name)
        if isinstance(path, Path) and any("\ud800" <= letter <= "\udfff" for letter in str(path.absolute())):
            raise InputError(
                f"--{field.name.replace('_', '-')} {path}: the name of {path.absolute()} is not UTF-8, and "
                "some libraries cannot open it. Give a folder of another name."
            )


def _alike(options: Any) -> dict[str, dict[str, str]]:
    """What all processes of a run must have in common."""
    return {
        "code": code_hashes(),
        "configuration": {f"--{name}": str(value) for name, value in dataclasses.asdict(options).items()},
        "versions": {"python": platform.python_version(), "jax": version("jax"), "jaxlib": version("jaxlib")},
    }


def _exit(team: Team | None, message: str, code: int) -> NoReturn:
    if team:
        team.end(message, code)
    print(printable(f"\n{message}"), file=sys.stderr)
    raise SystemExit(code)


def _unexpected(team: Team | None) -> NoReturn:
    """Raises the exception at hand again; of many processes, once it is sure to be this one's own fault."""
    if team:
        team.await_verdict()
        traceback.print_exc()
        team.end(f"error: {sys.exc_info()[1]!r}", 1)
    raise  # noqa: PLE0704
