"""Bad input of every kind: options, texts, and files of other versions. Each ends in a word (InputError, exit
code 2) or is taken; none in a traceback.
"""

import contextlib
import dataclasses
import gzip
import io
import json
import os
import shutil
import tempfile
import time
import traceback
import typing
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from command import command
from data.corpora import load_corpus
from errors import InputError
from experiments import (
    ablate,
    blocks,
    compare,
    generate,
    payoff,
    plan,
    retrieval,
    retrofit,
    scaling,
    sizes,
    square,
    sweep,
)
from experiments import parallelism as pipelines
from models.families import build
from reports.pages import pages
from reports.sections import sections
from studies.prepare import reopen
from studies.results_file import read_results
from studies.trials.trained import read_trial
from tests.chaos.cases import Case
from tests.chaos.children import Child

TAKEN_SECONDS = 8.0  # what still runs by then has been taken
COMMANDS = {
    "compare": (compare.compare, compare.Options, []),
    "ablate": (ablate.ablate, ablate.Options, ["gopher"]),
    "scaling": (scaling.scaling, scaling.Options, []),
    "payoff": (payoff.payoff, payoff.Options, []),
    "square": (square.square, square.Options, []),
    "blocks": (blocks.blocks, blocks.Options, []),
    "sweep": (sweep.sweep, sweep.Options, []),
    "parallelism": (pipelines.parallelism, pipelines.Options, []),
    "plan": (plan.plan, plan.Options, ["palm/smoke"]),
    "sizes": (sizes.sizes, sizes.Options, []),
    "generate": (generate.generate, generate.Options, ["--run", "finished/retro"]),
    "retrofit": (retrofit.retrofit, retrofit.Options, ["--run", "finished/gopher"]),
    "retrieval build": (retrieval.retrieval, retrieval.VERBS, ["build", "--corpus", "first", "--out", "built"]),
    "retrieval search": (retrieval.retrieval, retrieval.VERBS, ["search", "--database", "database", "--query", "x"]),
    "retrieval add": (retrieval.retrieval, retrieval.VERBS, ["add", "--database", "database", "--corpus", "later"]),
    "retrieval remove": (retrieval.retrieval, retrieval.VERBS, ["remove", "--database", "database"]),
}  # fmt: skip
WORDS = (
    "", " ", "0", "-1", "1", "63", "1e9", "nan", "inf", "-inf", "0x10", "99999999999999999999", "1.5", "none", "None",
    "true", "palm", "gopher/540b", "hf:", "hf:a:b:c", "[", "*", "{}", "\x00x", "a\nb", "ä", "\ud800", "../..", "/",
    "/dev/null", "/dev/zero", "/proc/self/mem", "nowhere", "first", "x" * 300, "1x1x1", "0x1x1", "8x8", "IVF0,Flat",
    "HNSW0", "NSG8,Flat", "PQ999", "\x1b[2J", "$(true)", "--", "-",
)  # fmt: skip


def options(folder: Path, random: np.random.Generator, count: int) -> Iterator[Case]:
    """Commands with one to three options of bad words, made from the fields of their dataclasses."""
    for number in range(count):
        name = list(COMMANDS)[random.integers(len(COMMANDS))]
        main, form, given = COMMANDS[name]
        arguments = list(given)
        for field in random.choice(_flags(form, given), random.integers(1, 4)):
            arguments += [f"--{field}", WORDS[random.integers(len(WORDS))]]
        arguments = [word.replace("\x00", "") for word in arguments]
        log = folder / f"{number}.log"
        child = Child(started, main, form, arguments, str(folder), log=log)
        end = child.end(TAKEN_SECONDS)
        outcome = "accepted" if end.code in (None, 0) else "named" if end.code == 2 else "exit"
        outcome = "traceback" if end.traceback else outcome
        yield Case("options", f"{name} {arguments}", outcome, end.said)


def started(main: Callable, form: Any, arguments: list[str], folder: str) -> None:
    """A command whose paths are of `folder`."""
    os.chdir(folder)
    command(main, form, "", arguments)


def _flags(form: Any, given: list[str]) -> list[str]:
    """The options of a dataclass, those of the verb in a union of them."""
    classes = typing.get_args(form) or (form,)
    classes = [
        typing.get_args(each)[0] if typing.get_origin(each) is typing.Annotated else each for each in classes
    ]
    chosen = [each for each in classes if len(classes) == 1 or each.__name__.lower().startswith(given[0])]
    return [field.name.replace("_", "-") for each in chosen for field in dataclasses.fields(each)] or ["out"]


def corpora(random: np.random.Generator, count: int) -> Iterator[Case]:
    """Folders of files that no text may be."""
    for _ in range(count):
        with tempfile.TemporaryDirectory() as name:
            folder, what = Path(name), []
            for number in range(random.integers(1, 5)):
                kind = list(FILES)[random.integers(len(FILES))]
                what.append(kind)
                with contextlib.suppress(OSError):
                    FILES[kind](folder, number, random)
            budget = None if random.random() < 0.5 else int(random.integers(1, 2000))
            yield _taken("corpora", f"{what}, {budget} bytes", partial(load_corpus, str(folder), budget))


def _written(name: str, content: bytes) -> Callable:
    return lambda folder, number, random: (folder / name.format(number)).write_bytes(content)


def _random_bytes(folder: Path, number: int, random: np.random.Generator) -> None:
    (folder / f"{number}.txt").write_bytes(random.bytes(int(random.integers(0, 400))))


def _record(folder: Path, number: int, random: np.random.Generator) -> None:
    values = [None, 3, 1.5, [], ["a"], {}, {"text": "b"}, "text " * 20, "", True, "\ud800"]
    records = [
        {key: values[random.integers(len(values))] for key in random.choice(["text", "id", "url", "x"], 2)}
        for _ in range(random.integers(1, 5))
    ]
    lines = [json.dumps(record) for record in records] + ['{"text": "cut', "[]", "3", ""][
        : random.integers(5)
    ]
    (folder / f"{number}.jsonl").write_text("\n".join(lines))


def _fifo(folder: Path, number: int, random: np.random.Generator) -> None:
    os.mkfifo(folder / f"{number}.txt")


def _odd_name(folder: Path, number: int, random: np.random.Generator) -> None:
    names = [b"caf\xe9.txt", b"\x1b[2J.txt", b"a\nb.txt", b"-.txt", "ä.txt".encode(), b" .txt", b"[x].txt"]
    Path(os.fsdecode(os.fsencode(folder) + b"/" + names[random.integers(len(names))])).write_text(
        "some words " * 20
    )


FILES: dict[str, Callable[[Path, int, np.random.Generator], Any]] = {
    "random bytes": _random_bytes,
    "records": _record,
    "a pipe": _fifo,
    "an odd name": _odd_name,
    "words": _written("{}.txt", b"plain words of a text " * 30),
    "UTF-16": _written("{}.txt", "some words".encode("utf-16")),
    "a mark at the start": _written("{}.txt", b"\xef\xbb\xbfsome words"),
    "zeros": _written("{}.txt", bytes(300)),
    "nothing": _written("{}.txt", b""),
    "no gzip": _written("{}.txt.gz", b"no gzip at all"),
    "a cut gzip": _written("{}.txt.gz", gzip.compress(b"some words " * 500)[:-9]),
    "a bomb": _written("{}.txt.gz", gzip.compress(bytes(2**22))),
    "one line": _written("{}.txt", b"x" * 60_000),
    "line ends": _written("{}.md", b"a\r\nb\rc\n" * 200),
    "a link to itself": lambda folder, number, random: (folder / f"{number}.txt").symlink_to(f"{number}.txt"),
    "a link to the folder": lambda folder, number, random: (folder / f"{number}").symlink_to(folder),
}


def folders(template: Path, random: np.random.Generator, count: int) -> Iterator[Case]:
    """Run folders of other versions: fields that are missing, more, or of other types."""
    for _ in range(count):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "run"
            form = ("retro", "gopher")[random.integers(2)]
            shutil.copytree(
                template / "finished" / form, folder, ignore=shutil.ignore_patterns("checkpoints")
            )
            file = ("config.json", "data.json")[random.integers(2)]
            content = json.loads((folder / file).read_bytes())
            content.pop("crc32")
            what = mutated(content, random)
            (folder / file).write_text(json.dumps(content))
            yield _taken("folders", f"{form}/{file}: {what}", partial(_read_run, folder))


def _read_run(folder: Path) -> None:
    trial = read_trial(folder)
    jax.eval_shape(build(trial.config).init, jax.random.key(0))
    reopen(folder)


def results(random: np.random.Generator, count: int) -> Iterator[Case]:
    """results.json with a value of another type or a hostile text, and the pages that are made of it."""
    source = Path(__file__).parents[2] / "experiments/results"
    for _ in range(count):
        with tempfile.TemporaryDirectory() as root:
            name = ("square", "ablate-palm-multi-head", "payoff")[random.integers(3)]
            folder = Path(root) / name
            folder.mkdir()
            content = json.loads((source / name / "results.json").read_bytes())
            what = mutated(content, random)
            (folder / "results.json").write_text(json.dumps(content))

            def made(folder=folder):
                read_results(folder / "results.json")
                written = pages(sections(folder.parent))
                if any(HOSTILE in page for page in written.values()):
                    raise AssertionError("a page holds what was injected")

            yield _taken("results", f"{name}: {what}", made)


HOSTILE = "<script>alert(1)</script>"
VALUES = (None, 3, -1, 1e308, float("nan"), "", "text", HOSTILE, [], [1], {}, {"a": 1}, True, 10**400)


def mutated(content: Any, random: np.random.Generator) -> str:
    """Changes one value of a tree of JSON, at a random depth, and says which."""
    path, here = [], content
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        key = keys[random.integers(len(keys))]
        path.append(key)
        deeper = here[key]
        if not (isinstance(deeper, dict | list) and deeper) or random.random() < 0.25:
            break
        here = deeper
    how = random.integers(3)
    if how == 0 and isinstance(here, dict):
        del here[key]
        return f"{path} is gone"
    value = VALUES[random.integers(len(VALUES))]
    if how == 1 and isinstance(here, dict):
        here["unheard of"] = value
        return f"{path[:-1]} has 'unheard of': {value!r}"
    here[key] = value
    return f"{path} is {str(value)[:40]!r}"


def _taken(kind: str, what: str, act: Callable[[], Any]) -> Case:
    """`act` in this process: InputError is a word, all else a traceback."""
    start = time.monotonic()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            act()
    except InputError as error:
        return Case(kind, what, "named", str(error))
    except Exception:
        return Case(kind, what, "traceback", traceback.format_exc())
    return Case(kind, what, "hang" if time.monotonic() - start > 60 else "accepted")
