"""How every experiment is started: typed options, in one process or as one of many, and bad input that ends
in a paragraph instead of a traceback.
"""

import dataclasses
import errno
import platform
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import NoReturn, TypeVar

import tyro

from errors import InputError
from parallelism.processes import code_hashes, start
from parallelism.team import Team

Options = TypeVar("Options")


def command(
    main: Callable[[Options], None],
    options: type[Options],
    description: str,
    arguments: Sequence[str] | None = None,
) -> None:
    """Parses the command line into `options` and runs `main`; exit code 2 for bad input, 130 when
    interrupted.

    Where the environment says that this is one of many processes (`parallelism.processes.start`), they run
    `main` together, and what ends one of them ends all.
    """
    parsed = tyro.cli(
        options, prog=f"python -m experiments.{main.__name__}", description=description, args=arguments
    )
    team = None
    try:
        team = start(_alike(parsed))
        main(parsed)
    except InputError as error:
        _exit(team, f"error: {error}", 2)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            _unexpected(team)
        _exit(
            team,
            f"error: The disk is full ({error.filename or 'while writing'}). What was finished is kept: free "
            "some space, or point --out and --artifacts elsewhere, and run the same command again.", 2,
        )  # fmt: skip
    except KeyboardInterrupt:
        _exit(team, "stopped. The same command goes on from here.", 130)
    except Exception:
        _unexpected(team)
    if team:
        team.farewell()


def _alike(options: object) -> dict[str, dict[str, str]]:
    """What all processes of a run must have in common."""
    return {
        "code": code_hashes(),
        "configuration": {f"--{name}": str(value) for name, value in dataclasses.asdict(options).items()},
        "versions": {"python": platform.python_version(), "jax": version("jax"), "jaxlib": version("jaxlib")},
    }


def _exit(team: Team | None, message: str, code: int) -> NoReturn:
    if team:
        team.end(message, code)
    print(f"\n{message}", file=sys.stderr)
    raise SystemExit(code)


def _unexpected(team: Team | None) -> NoReturn:
    """Goes on with the exception at hand; of many processes, once it is sure to be this one's own fault."""
    if team:
        team.await_verdict()
        traceback.print_exc()
        team.end(f"error: {sys.exc_info()[1]!r}", 1)
    raise  # noqa: PLE0704
