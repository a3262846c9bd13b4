"""The commands, each with the first sentence of its script's docstring: `python -m experiments`."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill

WIDTH = 80
HELP = "Start one with python -m experiments.NAME; --help after it lists its options."


def commands(folder: Path) -> dict[str, str]:
    """Every script of `folder` by name -> the first sentence of its docstring. No script is imported."""
    paths = sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))
    return {path.stem: _first_sentence(path) for path in paths}


def listing(sentences: Mapping[str, str]) -> str:
    """A paragraph for each command, at most 80 columns wide."""
    column = max(map(len, sentences)) + 2
    return "\n".join(
        fill(f"{name:{column}}{sentence}", WIDTH, subsequent_indent=" " * column)
        for name, sentence in sentences.items()
    )


def _first_sentence(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<=[.?!])\s|\n\n", docstring, maxsplit=1)[0].replace("\n", " ")


if __name__ == "__main__":
    print(listing(commands(Path(__file__).parent)), HELP, sep="\n\n")
