"""Text, source and .jsonl files -> documents. What cannot be read is left out and counted, never fatal."""

import glob
import gzip
import itertools
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

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
LONGEST_LINE = 2 * PART_CHARACTERS
LONGEST_DOCUMENT = 2**26  # characters; what is longer is no text to be read by anyone, and fills the memory
TOO_LONG = f"document of more than {LONGEST_DOCUMENT:,} characters"


def file_documents(corpus: str, skipped: Counter) -> Iterator[Document]:
    """The documents of a file, a folder or a glob; what cannot be read is counted in `skipped`.

    Sources are the files' names relative to the folder, or to the folder that all matches of a glob share.
    A file is read to its end before its first document comes, so that one that breaks off gives none, and
    then once more, document by document: never more of it is in memory than the longest.

    Raises:
        InputError: there is no such file or folder, or nothing that the glob matches.
    """
    for source, path in _files(corpus, skipped):
        suffix = Path(source.removesuffix(".gz")).suffix.lower()
        try:
            if _is_special(path):
                skipped["not a regular file"] += 1
            elif suffix not in TEXT_SUFFIXES | CODE_SUFFIXES | {".jsonl"}:
                skipped["unknown suffix"] += 1
            else:
                with _opened(path, encoding="utf-8-sig", newline="\n") as file:  # no other ends a line
                    yield from _documents(file, source, suffix, skipped)
        except UnicodeDecodeError:
            skipped[_why_no_text(path)] += 1
        except (OSError, EOFError, zlib.error):
            skipped["unreadable"] += 1


def _documents(file: TextIO, source: str, suffix: str, skipped: Counter) -> Iterator[Document]:
    if suffix in CODE_SUFFIXES:
        text = file.read(LONGEST_DOCUMENT + 1)
        if len(text) <= LONGEST_DOCUMENT:
            yield Document(text, source, "code", source)
        else:
            skipped[TOO_LONG] += 1
    elif suffix == ".jsonl":
        yield from _json_lines(file, source, skipped)
    else:
        yield from text_documents(file, source, skipped)


def _files(corpus: str, skipped: Counter) -> list[tuple[str, Path]]:
    """(source name, file), in the order of the names."""
    path = Path(corpus)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError as error:
        raise InputError(
            f"The corpus {corpus} cannot be read ({error.strerror}). Give another name."
        ) from error
    if is_folder:
        files, root = list(_files_below(path, skipped)), path
    elif exists:
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
            if file.is_symlink() and not _leads_below(file, folder):
                skipped["link out of the folder"] += 1
            elif not name.startswith("."):
                yield file


def _leads_below(link: Path, folder: Path) -> bool:
    try:
        return link.resolve(strict=True).is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # to nothing, or in a circle
        return False


def _is_special(path: Path) -> bool:
    """Whether it is a pipe, a socket or a device: reading one may wait for ever, or never end."""
    return path.exists() and not path.is_file()


def _opened(path: Path, mode: str = "rt", **how: str) -> Any:
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    return opener(path, mode, **how)


def _why_no_text(path: Path) -> str:
    try:
        with _opened(path, "rb") as file:
            holds_zeros = sum(b"\0" in block for block in iter(lambda: file.read(2**20), b"")) > 0
    except (OSError, EOFError, zlib.error):
        return "unreadable"
    return "binary" if holds_zeros else "invalid UTF-8"


def text_documents(file: TextIO, source: str, skipped: Counter) -> Iterator[Document]:
    """Articles where the file has WikiText's ` = Title = ` headings, else parts of some 64,000 characters."""
    has_headings = sum(heading is not None for _, heading in _lines(file)) > 0
    file.seek(0)
    parts = _articles(file) if has_headings else enumerate(_parts(file))
    first, second = next(parts, None), next(parts, None)
    for name, part in itertools.chain(filter(None, (first, second)), parts):
        if part is None:
            skipped[TOO_LONG] += 1
        else:
            name = f"{source}:{name}" if second else source
            yield Document(part, name, "docs", name, package=name if has_headings else source)


def _lines(file: TextIO) -> Iterator[tuple[str, re.Match | None]]:
    """Its lines, each with the heading that it is, if it is one. A line of more than 128,000 characters comes
    in pieces, cut after a space where it has any.
    """
    rest, begins = "", True
    while line := rest + file.readline(LONGEST_LINE - len(rest)):
        end = len(line)
        if end == LONGEST_LINE and line[-1] != "\n":
            end = line.rfind(" ") + 1 or end
        yield line[:end], ARTICLE_HEADING.match(line) if begins else None
        rest, begins = line[end:], line[end - 1] == "\n"


def _articles(file: TextIO) -> Iterator[tuple[str, str | None]]:
    """(title, text) of each article, and before them of what stands above the first heading, as `0`; None
    where the text is too long.
    """
    title, article, size = "", [], 0
    for line, heading in _lines(file):
        if heading:
            if title or "".join(article).strip():
                yield title or "0", "".join(article) if size <= LONGEST_DOCUMENT else None
            title, article, size = heading[1], [], 0
        size += len(line)
        if size <= LONGEST_DOCUMENT:
            article.append(line)
    yield title or "0", "".join(article) if size <= LONGEST_DOCUMENT else None


def _parts(file: TextIO) -> Iterator[str]:
    """Cuts at the first blank line after 64,000 characters, at the latest at the line end after 128,000; and
    wherever `_lines` cuts a line.
    """
    part, size, number = [], 0, 0
    for piece, _ in _lines(file):
        lines = piece.splitlines(keepends=True)
        for line in lines:
            part.append(line)
            size += len(line)
            may_end = not line.strip() or (line is lines[-1] and piece[-1] != "\n")
            if size >= 2 * PART_CHARACTERS or (size >= PART_CHARACTERS and may_end):
                yield "".join(part)
                part, size, number = [], 0, number + 1
    if part or not number:
        yield "".join(part)


def _json_lines(file: TextIO, source: str, skipped: Counter) -> Iterator[Document]:
    """A document per line: its field `text`, of which null is as empty as "", or where there is no such field
    all fields that are strings, blank lines between.
    """
    for _ in _lines(file):  # to the end
        pass
    file.seek(0)
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_DOCUMENT + 1), ""), start=1):
        if len(line) > LONGEST_DOCUMENT and line[-1] != "\n":
            skipped[TOO_LONG] += 1
            while line and line[-1] != "\n":
                line = file.readline(LONGEST_LINE)
        elif line.strip():
            content = _content(line, skipped)
            if content is not None:
                name = f"{source}:{number}"
                yield Document(content, name, "docs", name)


def _content(line: str, skipped: Counter) -> str | None:
    """The text of a JSON record; None where it has none, which is counted."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        skipped["broken JSON line"] += 1
        return None
    if "text" in record:
        content = "" if record["text"] is None else record["text"]
    else:
        content = "\n\n".join(value for value in record.values() if isinstance(value, str))
    if not isinstance(content, str):
        skipped["text that is no string"] += 1
        return None
    return content
