"""The corpus `installed`: the packages that requirements.txt pins, and the standard library.

The same pins and the same Python are the same text on every machine of one kind (wheels of another platform
may hold other modules). Each package is what its distribution lists: Python modules, each with its docstrings
apart, and its documentation in Markdown or reStructuredText, the description in its metadata included. Tests,
what a package has copied from others, and licences are left out.
"""

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from data.documents import Document
from data.modules import Module, module_documents, module_name
from data.stdlib import help_topics, stdlib_modules, stdlib_root
from errors import InputError

REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)", re.MULTILINE)
LEFT_OUT_PARTS = {"test", "tests", "testing", "_vendor", "vendored", "vendor", "third_party", "licenses"}
DOCUMENTATION = {".md", ".rst"}


def installed_documents(max_bytes: int | None = None) -> Iterator[Document]:
    """Modules and their docstrings in the order of their names, then documentation by package.

    max_bytes: of modules, see data.modules.

    Raises:
        InputError: a pinned package is not installed.
    """
    packages, library = pinned(), stdlib_root()
    modules = [module for name, package in packages.items() for module in _modules(name, package)]
    yield from module_documents([*modules, *stdlib_modules(library)], max_bytes)
    for name, package in packages.items():
        yield from _documentation(name, package)
    yield from help_topics(library)


def pinned() -> dict[str, metadata.Distribution]:
    """The distributions that requirements.txt pins, by name."""
    names = sorted(name for name, _ in PIN.findall(REQUIREMENTS.read_text(encoding="utf-8")))
    try:
        return {name: metadata.distribution(name) for name in names}
    except metadata.PackageNotFoundError as error:
        raise InputError(
            f"The corpus `installed` reads the packages that requirements.txt pins, and {error.name} is not "
            "installed. Run `make setup`, or give another --corpus."
        ) from error


def licences() -> dict[str, str]:
    """Every pinned package's licence, as its metadata names it."""
    return {name: _licence(package.metadata) for name, package in pinned().items()}


def _licence(fields: metadata.PackageMetadata) -> str:
    """The SPDX expression, else the classifier, else the first line of the free text."""
    named = {name: str(value) for name, value in fields.json.items()}
    classifiers = [c.split(" :: ")[-1] for c in fields.json.get("classifier", []) if c.startswith("License")]
    first_line = named.get("license", "not named").strip().split("\n")[0]
    return named.get("license_expression") or next(iter(classifiers), first_line)


def _modules(name: str, package: metadata.Distribution) -> Iterator[Module]:
    for path, file in _files(package):
        if path.suffix == ".py":
            yield Module(module_name(path), file, name)


def _documentation(name: str, package: metadata.Distribution) -> Iterator[Document]:
    """The description that the package's metadata holds, and its files."""
    if description := str(package.metadata.json.get("description", "")).strip():
        yield Document(description, f"{name}:description", "docs", f"{name}:description", name)
    for path, file in _files(package):
        if path.suffix in DOCUMENTATION:
            source = f"{name}:{path.as_posix()}"
            yield Document(file.read_bytes().decode(errors="replace"), source, "docs", source, name)


def _files(package: metadata.Distribution) -> Iterator[tuple[Path, Path]]:
    """(path inside the environment, the file) of what a distribution has put there."""
    for path in map(Path, sorted(map(str, package.files or ()))):
        if path.suffix in {".py", *DOCUMENTATION} and not LEFT_OUT_PARTS.intersection(path.parts):
            file = Path(str(package.locate_file(path)))
            if ".." not in path.parts and file.is_file():
                yield path, file
