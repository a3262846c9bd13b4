"""How every experiment is started: typed options, and bad input that ends in a paragraph instead of a
traceback.
"""

import errno
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import tyro

from errors import InputError

Options = TypeVar("Options")


def command(
    main: Callable[[Options], None],
    options: type[Options],
    description: str,
    arguments: Sequence[str] | None = None,
) -> None:
    """Parses the command line into `options` and runs `main`; exit code 2 for bad input, 130 when
    interrupted.
    """
    parsed = tyro.cli(
        options, prog=f"python -m experiments.{main.__name__}", description=description, args=arguments
    )
    try:
        main(parsed)
    except InputError as error:
        _exit(f"error: {error}", 2)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _exit(
            f"error: The disk is full ({error.filename or 'while writing'}). What was finished is kept: free "
            "some space, or point --out and --artifacts elsewhere, and run the same command again.", 2,
        )  # fmt: skip
    except KeyboardInterrupt:
        _exit("stopped. The same command goes on from here.", 130)


def _exit(message: str, code: int) -> None:
    print(f"\n{message}", file=sys.stderr)
    raise SystemExit(code)
