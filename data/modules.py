"""Python modules -> documents: the code of each without its docstrings, and the docstrings, so that no text
stands in two documents. Nothing is imported or run.
"""

import ast
import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.documents import Document, in_turns

MINIMUM_DOCSTRING_CHARACTERS = 200


@dataclass(frozen=True)
class Module:
    """name: dotted. package: what it is a part of."""

    name: str
    path: Path
    package: str


def module_name(relative: Path) -> str:
    """json/decoder.py -> json.decoder, json/__init__.py -> json."""
    parts = relative.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def module_documents(modules: Sequence[Module], max_bytes: int | None) -> Iterator[Document]:
    """Each module, followed by its docstrings where these have 200 characters, in the order of their names.

    With `max_bytes`, packages take turns in giving a file until the next one would exceed it (the first is
    always taken), so that a smaller budget gives a subset of what a larger one gives. No other is read.
    """
    for module in sorted(_within(modules, max_bytes), key=lambda module: module.name):
        # Packages are UTF-8 throughout, but a file of a patched installation may not be.
        text = module.path.read_bytes().decode(errors="replace")
        if not text.strip():
            continue
        code, docstrings = separated(text, module.name)
        if len(docstrings) < MINIMUM_DOCSTRING_CHARACTERS:
            code, docstrings = text, ""
        if code.strip():
            yield Document(code, module.name, "code", module.name, module.package)
        if docstrings:
            yield Document(docstrings, f"{module.name}.__doc__", "docs", module.name, module.package)


def separated(text: str, name: str) -> tuple[str, str]:
    """(code without the docstrings, docstrings of the module `name`, its classes and functions in source
    order, each under its qualified name). A docstring that shares a line with code stays there; what is no
    Python of today stays as it is.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return text, ""
    lines, docstrings = text.split("\n"), []
    for owner, docstring, place in _docstrings(tree, name):
        before = lines[place.lineno - 1].encode()[: place.col_offset]
        after = lines[place.end_lineno - 1].encode()[place.end_col_offset :]
        if not (before.strip() or after.strip()):
            docstrings.append(f"{owner}\n\n{docstring}")
            lines[place.lineno - 1 : place.end_lineno] = [None] * (place.end_lineno - place.lineno + 1)
    return "\n".join(line for line in lines if line is not None), "\n\n\n".join(docstrings)


def _docstrings(node: ast.AST, name: str) -> Iterator[tuple[str, str, ast.stmt]]:
    """(qualified name, docstring, where it stands) of a node and all below it."""
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        if docstring := ast.get_docstring(node):
            yield name, docstring, node.body[0]
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield from _docstrings(child, f"{name}.{child.name}" if hasattr(child, "name") else name)


def _within(modules: Sequence[Module], max_bytes: int | None) -> list[Module]:
    if max_bytes is None:
        return list(modules)
    order = in_turns([module.name for module in modules], [module.package for module in modules])
    sizes = itertools.accumulate(modules[i].path.stat().st_size for i in order)
    return [modules[i] for n, (i, size) in enumerate(zip(order, sizes)) if n == 0 or size <= max_bytes]
