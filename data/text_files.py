"""Text, source and .jsonl files -> documents. What cannot be read is left out and counted, never fatal."""

import glob
import gzip
import itertools
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from data.documents import Document
from errors import InputError

TEXT_SUFFIXES = {".txt", ".md", ".rst", ".text", ".tokens"}
CODE_SUFFIXES = {
    ".py", ".pyi", ".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".cu", ".js", ".jsx", ".ts", ".tsx", ".java",
    ".kt", ".go", ".rs", ".rb", ".php", ".cs", ".swift", ".scala", ".hs", ".ml", ".lua", ".pl", ".r", ".jl",
    ".sh", ".sql",
}  # fmt: skip

ARTICLE_HEADING = re.compile(r"^ = (?!= )(.+?)(?<! =) = *$", re.MULTILINE)
PART_CHARACTERS = 64_000


def file_documents(corpus: str, skipped: Counter) -> Iterator[Document]:
    """The documents of a file, a folder or a glob; files that cannot be read are counted in `skipped`.

    Sources are the files' names relative to the folder, or to the folder that all matches of a glob share.

    Raises:
        InputError: there is no such file or folder, or nothing that the glob matches.
    """
    for source, path in _files(corpus, skipped):
        suffix = Path(source.removesuffix(".gz")).suffix.lower()
        if suffix not in TEXT_SUFFIXES | CODE_SUFFIXES | {".jsonl"}:
            skipped["unknown suffix"] += 1
            continue
        try:
            text = _read(path)
        except UnicodeDecodeError as error:
            skipped["binary" if b"\0" in error.object else "invalid UTF-8"] += 1
        except (OSError, EOFError, zlib.error):
            skipped["unreadable"] += 1
        else:
            if suffix == ".jsonl":
                yield from _json_lines(text, source, skipped)
            elif suffix in CODE_SUFFIXES:
                yield Document(text, source, "code", source)
            else:
                yield from text_documents(text, source)


def _files(corpus: str, skipped: Counter) -> list[tuple[str, Path]]:
    """(source name, file), in the order of the names."""
    path = Path(corpus)
    if path.is_dir():
        files, root = list(_files_below(path, skipped)), path
    elif path.exists():
        files, root = [path], path.parent
    else:
        matches = [Path(match) for match in glob.glob(corpus, recursive=True)]
        if not matches:
            raise InputError(
                f"The corpus {corpus} does not exist. Give `stdlib`, a file, a folder, a glob in quotes, or "
                "hf:NAME."
            )
        below = [_files_below(match, skipped) if match.is_dir() else [match] for match in matches]
        files = list(dict.fromkeys(itertools.chain(*below)))
        root = Path(os.path.commonpath([match.parent for match in matches]))
    return sorted((file.relative_to(root).as_posix(), file) for file in files)


def _files_below(folder: Path, skipped: Counter) -> Iterator[Path]:
    """All files in visible folders; links to folders, and links that leave the folder, are not followed."""
    for directory, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = Path(directory, name)
            if file.is_symlink() and not file.resolve().is_relative_to(folder.resolve()):
                skipped["link out of the folder"] += 1
            elif not name.startswith("."):
                yield file


def _read(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")


def text_documents(text: str, source: str) -> Iterator[Document]:
    """Articles where the file has WikiText's ` = Title = ` headings, else parts of some 64,000 characters."""
    headings = list(ARTICLE_HEADING.finditer(text))
    if headings:
        ends = [heading.start() for heading in headings[1:]] + [len(text)]
        parts = [(heading[1], text[heading.start() : end]) for heading, end in zip(headings, ends)]
        if text[: headings[0].start()].strip():
            parts.insert(0, ("0", text[: headings[0].start()]))
    else:
        parts = [(str(number), part) for number, part in enumerate(_parts(text))]
    for name, part in parts:
        name = source if len(parts) == 1 else f"{source}:{name}"
        yield Document(part, name, "docs", name, package=name if headings else source)


def _parts(text: str) -> Iterator[str]:
    """Cuts at the first blank line after 64,000 characters, at the latest at the line end after 128,000."""
    start = size = 0
    for line in text.splitlines(keepends=True):
        size += len(line)
        if size >= 2 * PART_CHARACTERS or (size >= PART_CHARACTERS and not line.strip()):
            yield text[start : start + size]
            start, size = start + size, 0
    if size or not start:
        yield text[start:]


def _json_lines(text: str, source: str, skipped: Counter) -> Iterator[Document]:
    """A document per line: its field `text`, of which null is as empty as "", or where there is no such field
    all fields that are strings, blank lines between.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            skipped["broken JSON line"] += 1
            continue
        if "text" in record:
            content = "" if record["text"] is None else record["text"]
        else:
            content = "\n\n".join(value for value in record.values() if isinstance(value, str))
        if not isinstance(content, str):
            skipped["text that is no string"] += 1
            continue
        name = f"{source}:{number}"
        yield Document(content, name, "docs", name)
