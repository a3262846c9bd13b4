"""The default corpus, which is on every machine: the running Python's standard library.

Each module is a document of domain `code`; its docstrings are one of domain `docs`, and so is each help topic
of `pydoc_data`. Nothing is imported or run. In a virtual environment this is still the base installation's.
"""

import ast
import itertools
import os
import sysconfig
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

from data.documents import Document, group_rank

LEFT_OUT_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "lib2to3", "ensurepip"}
TOPICS = Path("pydoc_data", "topics.py")
MINIMUM_DOCSTRING_CHARACTERS = 200


def stdlib_documents(max_bytes: int | None = None, root: Path | None = None) -> Iterator[Document]:
    """Modules, each followed by its docstrings, in the order of their names; then the help topics.

    With `max_bytes`, modules that a budget filled in the order of `group_rank` cannot reach are not read.
    """
    root = root or Path(sysconfig.get_path("stdlib"))
    modules = {_module_name(path.relative_to(root)): path for path in _modules(root)}
    for name in sorted(_within_reach(modules, max_bytes)):
        # The library is UTF-8 throughout, but a file of a patched installation may not be.
        text = modules[name].read_bytes().decode(errors="replace")
        if not text.strip():
            continue
        yield Document(text, source=name, domain="code", group=name)
        docstrings = module_docstrings(text, name)
        if len(docstrings) >= MINIMUM_DOCSTRING_CHARACTERS:
            yield Document(docstrings, source=f"{name}.__doc__", domain="docs", group=name)
    for name, text in sorted(_help_topics(root / TOPICS).items()):
        source = f"pydoc_data.topics:{name}"
        yield Document(text, source=source, domain="docs", group=source)


def module_docstrings(code: str, name: str) -> str:
    """A module's, its classes' and functions' docstrings in source order, each under its qualified name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        tree = ast.parse(code)
    return "\n\n\n".join(f"{owner}\n\n{docstring}" for owner, docstring in _docstrings(tree, name))


def _within_reach(modules: Mapping[str, Path], max_bytes: int | None) -> list[str]:
    """The modules that those ranked before them leave some of the budget for."""
    ranked = sorted(modules, key=group_rank)
    if max_bytes is None:
        return ranked
    before = itertools.accumulate((modules[name].stat().st_size for name in ranked), initial=0)
    return [name for name, size in zip(ranked, before) if size < max_bytes]


def _docstrings(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        if docstring := ast.get_docstring(node):
            yield name, docstring
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield from _docstrings(child, f"{name}.{child.name}" if hasattr(child, "name") else name)


def _help_topics(path: Path) -> dict[str, str]:
    """The dictionary that the module `pydoc_data.topics` consists of; none where it is not installed."""
    if not path.is_file():
        return {}
    assignments = [
        node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.Assign)
    ]
    return ast.literal_eval(assignments[0].value)


def _modules(root: Path) -> Iterator[Path]:
    for directory, folders, names in os.walk(root):
        folders[:] = [
            name for name in folders if name not in LEFT_OUT_FOLDERS and not name.startswith("config-")
        ]
        for path in (Path(directory, name) for name in names if name.endswith(".py")):
            # _sysconfigdata is no library text: it is written when Python is built and tells of that machine.
            generated = path.relative_to(root) == TOPICS or path.name.startswith("_sysconfigdata")
            if not generated:
                yield path


def _module_name(relative: Path) -> str:
    """json/decoder.py -> json.decoder, json/__init__.py -> json."""
    parts = relative.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
