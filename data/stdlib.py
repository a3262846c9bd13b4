"""The corpus that is on every machine: the running Python's standard library.

Each module is a document of domain `code`; its docstrings are one of domain `docs`, and so is each help topic
of `pydoc_data`. Nothing is imported or run. In a virtual environment this is still the base installation's.
"""

import ast
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from data.documents import Document
from data.modules import Module, module_documents, module_name

LEFT_OUT_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "lib2to3", "ensurepip"}
TOPICS = Path("pydoc_data", "topics.py")


def stdlib_documents(max_bytes: int | None = None, root: Path | None = None) -> Iterator[Document]:
    """Modules, each followed by its docstrings, in the order of their names; then the help topics.

    max_bytes: of modules, see data.modules.
    """
    root = root or stdlib_root()
    yield from module_documents(stdlib_modules(root), max_bytes)
    yield from help_topics(root)


def stdlib_root() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def stdlib_modules(root: Path) -> list[Module]:
    """The modules of the library; each belongs to its top-level module, `_pydecimal` to `decimal`."""
    modules = []
    for directory, folders, names in os.walk(root):
        folders[:] = [
            name for name in folders if name not in LEFT_OUT_FOLDERS and not name.startswith("config-")
        ]
        for path in (Path(directory, name) for name in names if name.endswith(".py")):
            # _sysconfigdata is no library text: it is written when Python is built and tells of that machine.
            if path.relative_to(root) != TOPICS and not path.name.startswith("_sysconfigdata"):
                name = module_name(path.relative_to(root))
                modules.append(Module(name, path, _package(name)))
    return modules


def _package(name: str) -> str:
    """The top-level module; `_pydecimal`, which implements `decimal` in Python, is a part of it."""
    top = name.split(".")[0]
    return top.removeprefix("_py").removeprefix("_") or top


def help_topics(root: Path) -> Iterator[Document]:
    """The dictionary that the module `pydoc_data.topics` consists of; none where it is not installed."""
    if not (root / TOPICS).is_file():
        return
    text = (root / TOPICS).read_text(encoding="utf-8")
    [topics, *_] = [node for node in ast.parse(text).body if isinstance(node, ast.Assign)]
    for name, text in sorted(ast.literal_eval(topics.value).items()):
        source = f"pydoc_data.topics:{name}"
        yield Document(text, source=source, domain="docs", group=source, package="pydoc_data")
