"""Whatever file of a database is cut, empty, gone, another in one bit, or another database's, and whatever is done
with the database then: what comes out is what comes out of the whole one, or an error that names the file.

Without `-m exhaustive` every file meets one damage of every kind and one command, and what once went wrong without
a word does so too.
"""

import contextlib
import io
import itertools
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from command import command
from errors import InputError
from experiments.retrieval import VERBS, retrieval
from retrieval.database.database import Database
from retrieval.database.live import retriever_from

WORDS = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma".split()
)
LISTS = ["--index", "IVF4,PQ4x4"]


def write(folder: Path, name: str, count: int, seed: int) -> None:
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        words = random.choice(WORDS, random.integers(20, 200))
        (folder / f"{name}-{number}.txt").write_text(" ".join(words))


class Stage:
    """Two databases as they were built and as they were after an `add`, and what commands make of them."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name, seed in (("ours", 0), ("theirs", 9)):
            write(folder / f"{name}-first", "first", 9, seed)
            write(folder / f"{name}-later", "later", 4, seed + 1)
            write(folder / f"{name}-last", "last", 3, seed + 2)
            database = folder / name / "2"
            assert self.run(*self.arguments("build", database, name))[0] == 0
            shutil.copytree(database, folder / name / "1")
            assert self.run("add", "--database", database, "--corpus", folder / f"{name}-later")[0] == 0
        self.references = {
            name: self.done(name, self.copy(name, folder / "whole" / name)) for name in COMMANDS
        }

    def arguments(self, verb: str, database: Path, name: str = "ours") -> list:
        corpus = self.folder / f"{name}-{dict(build='first', add='last').get(verb)}"
        return {
            "build": ["build", "--out", database, "--corpus", corpus, "--keys", "tfidf", "--vocab-size", 400, *LISTS],
            "add": ["add", "--database", database, "--corpus", corpus],
            "remove": ["remove", "--database", database, "--document", "first-3.txt", "--document", "later-1.txt"],
            "search": ["search", "--database", database, "--query", "alpha beta gamma", "--query", "pi rho"],
        }[verb]  # fmt: skip

    def copy(self, verb: str, to: Path, name: str = "ours") -> Path:
        """The database that `verb` is tried on: built anew, or changed and read after an `add`."""
        return shutil.copytree(self.folder / name / ("1" if verb == "build" else "2"), to)

    def run(self, *arguments) -> tuple[int, str]:
        """(exit code, what was printed; of what failed, the message)."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                command(retrieval, VERBS, "", [*map(str, arguments)])
            except SystemExit as stopped:
                return stopped.code, err.getvalue()
        return 0, out.getvalue()

    def done(self, verb: str, database: Path) -> tuple[int, str, dict[str, bytes]]:
        """(exit code, what was printed, the files afterwards)."""
        if verb != "generate":
            code, printed = self.run(*self.arguments(verb, database))
        else:
            try:
                opened = Database(database)
                retrieved = retriever_from(opened, opened.tokenizer, 3)(
                    opened.documents.chunk_tokens(np.arange(5))
                )
                code, printed = 0, repr([array.tobytes() for array in retrieved])
            except InputError as error:
                code, printed = 2, str(error)
        return code, printed.replace(str(database), ""), contents(database)

    def outcome(self, verb: str, file: str, damage: str, database: Path) -> str:
        """What came of a command on a database with this damage: named, repaired, or as before; an
        AssertionError where it is anything else.
        """
        self.copy(verb, database)
        path = database / file
        if damage == "swap":
            self.swapped(verb, database, file)
        else:
            path.write_bytes(changed) if (
                changed := DAMAGES[damage](path.read_bytes())
            ) is not None else path.unlink()
        harmed = path.read_bytes() if path.exists() else None
        code, printed, files = self.done(verb, database)
        if code == 2:
            assert "Traceback" not in printed
            known = [Path(file).name, Path(file).parent.name] if "artifacts" in file else [Path(file).name]
            known += ["holds a run of another configuration"] if file == "config.json" else []
            assert any(name in printed for name in known), (verb, file, damage, printed)
            return "named"
        assert code == 0, (verb, file, damage, printed)
        _, expected_print, expected = self.references[verb]
        left = files == expected | ({file: harmed} if harmed is not None else {}) or (
            harmed is None and {**files, file: b""} == {**expected, file: b""}
        )
        assert printed == expected_print and (files == expected or left), (verb, file, damage)
        return "repaired" if files == expected else "left, and right otherwise"

    def swapped(self, verb: str, database: Path, file: str) -> None:
        """Puts the other database's file of this kind in the place of `file`."""
        theirs = self.folder / "theirs" / ("1" if verb == "build" else "2")
        pattern = "/".join(
            part.partition("-")[0] + "-*" if "-" in part else part for part in Path(file).parts
        )
        shutil.copyfile(sorted(theirs.glob(pattern))[0], database / file)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith(".lock"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def flipped(at: float):
    def flip(content: bytes) -> bytes:
        place = int(at * (len(content) - 1))
        return (
            content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]
            if content
            else b"x"
        )

    return flip


DAMAGES = {
    "flip in the middle": flipped(0.5), "delete": lambda content: None, "cut": lambda content: content[: len(content) // 2],
    "flip the last": flipped(1), "empty": lambda content: b"", "flip the first": flipped(0), "flip near the end": flipped(0.93),
    "cut one": lambda content: content[:-1], "swap": None,
}  # fmt: skip
COMMANDS = ("build", "add", "remove", "search", "generate")
# Of which a flip once changed what came out without a word.
ONCE_SILENT = [
    ("remove", "index-*/index.faiss"), ("remove", "keys-*/keys.npy"), ("add", "neighbours-*/distances.npy"),
    ("remove", "neighbours-*/distances.npy"), ("add", "neighbours-*/ids.npy"), ("remove", "neighbours-*/ids.npy"),
    ("add", "tokenizer-*/tokenizer.model"), ("remove", "tokens-*/groups.npy"), ("remove", "tokens-*/shared_ngrams.npy"),
    ("remove", "tokens-*/text_hash.npy"), ("remove", "tokens-*/tokens.bin"), ("add", "../database.json"),
    ("search", "keys-*/keys.npy"), ("search", "tokens-*/tokens.bin"), ("generate", "tokens-*/tokens.bin"),
]  # fmt: skip


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return Stage(tmp_path_factory.mktemp("damaged"))


def files(stage: Stage, verb: str) -> list[str]:
    return sorted(contents(stage.folder / "ours" / ("1" if verb == "build" else "2")))


def tried(stage: Stage, cases, tmp_path: Path) -> Counter:
    counts = Counter()
    for number, (verb, file, damage) in enumerate(cases):
        database = tmp_path / str(number)
        counts[verb, damage.partition(" ")[0], stage.outcome(verb, file, damage, database)] += 1
        shutil.rmtree(database)
    print("", *(f"{count:5d} {' | '.join(names)}" for names, count in sorted(counts.items())), sep="\n")
    return counts


def test_every_damage_is_named_repaired_or_changes_nothing(stage, tmp_path):
    """Each file with each kind of damage in turn, each time by the next command."""
    verbs, damages = itertools.cycle(COMMANDS), itertools.cycle(DAMAGES)
    cases = [
        (verb, file, next(damages))
        for file, verb in zip(files(stage, "build"), verbs)
        if file in files(stage, verb)
    ]
    for verb, pattern in ONCE_SILENT:
        folder = stage.folder / "ours" / "2"
        paths = [folder / "database.json"] if ".." in pattern else (folder / "artifacts").glob(pattern)
        cases += [(verb, path.relative_to(folder).as_posix(), "flip in the middle") for path in paths]
    counts = tried(stage, cases, tmp_path)
    assert sum(count for (*_, outcome), count in counts.items() if outcome == "named") > 20


@pytest.mark.exhaustive
@pytest.mark.parametrize("verb", COMMANDS)
def test_every_file_damage_and_command(stage, tmp_path, verb):
    tried(stage, [(verb, file, damage) for file in files(stage, verb) for damage in DAMAGES], tmp_path)
