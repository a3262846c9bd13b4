"""The commands that write, at their smallest: each is started in a folder that holds all it needs, and may be
started again there until it is done.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from command import command
from experiments import ablate, compare, generate, publish, retrieval, retrofit
from models.families import configuration, with_decoder_fields
from parallelism.mesh import make_mesh, parse_mesh_shape
from processes import host
from reports.pages import pages, write
from reports.sections import sections
from retrieval.database.version import CURRENT, read_version
from retrieval.keys import embed
from studies import presets
from studies.prepare import Text, prepare, reopen
from studies.stages import Stages
from studies.trials.train import run_trial, strategy_of
from studies.trials.trained import read_trial
from studies.trials.trial import Trial
from studies.trials.worker import Evaluation, Task, work
from tests.experiments.smoke import TINY_BERT
from tests.many_processes import environment
from training.metrics import read_metrics

COMPILED = "CHAOS_COMPILED"  # the environment variable: where all jobs of one call keep their programs
VOCABULARY, STEPS, LENGTH = 290, 6, 128
WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu".split()
TEXT = f"--preset smoke --corpus first --encoder {TINY_BERT} --held-out document"
RESULTS = Path(__file__).parents[2] / "experiments/results"
# What a clock, a process or the order of two says.
PASSING = (".lock", ".events", "events.out", "log.txt", "cost.json", "compiled", ".partial", "stages")


@dataclass(frozen=True)
class Job:
    """A command. run: in a folder. same: what must come out alike, whatever happened on the way, by name."""

    name: str
    run: Callable[[Path], None]
    same: Callable[[Path], Mapping[str, str]]


def prepared(folder: Path) -> None:
    """Makes what jobs start from: two texts, their artifacts, and a finished RETRO and dense trial."""
    enter(folder)
    random = np.random.default_rng(0)
    for corpus, count in (("first", 40), ("later", 12)):
        Path(corpus).mkdir()
        for number in range(count):
            text = " ".join(random.choice(WORDS, random.integers(150, 300)))
            Path(f"{corpus}/{corpus}-{number}.txt").write_text(f"{number} {text}")
    tables(folder)
    build("first", "served", "--index Flat")
    for form in ("gopher", "retro"):
        work(_task(form, "finished"), 1e9, None, Path("compiled"))


def tables(folder: Path) -> None:
    """Puts two of the committed tables into `folder`."""
    for name in ("square", "ablate-palm-multi-head"):
        shutil.copytree(RESULTS / name, folder / "results" / name)


def enter(folder: Path) -> None:
    """All paths are of `folder`, so that files are alike in every copy of it; programs are compiled once."""
    os.chdir(folder)
    jax.config.update("jax_compilation_cache_dir", os.environ.get(COMPILED, str(folder.parent / "compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    presets.PRESETS["smoke"] = dataclasses.replace(
        presets.PRESETS["smoke"], vocab_size=VOCABULARY, length=LENGTH, steps=STEPS, evaluation_tokens=3000
    )


def _task(form: str, where: str) -> Task:
    text, artifacts = Text("first", None, "palm", VOCABULARY, TINY_BERT, "Flat", 2), Path("artifacts")
    made = prepare(text, artifacts, Stages(artifacts))
    config = with_decoder_fields(configuration(f"{form}/smoke"), vocab_size=VOCABULARY, max_length=LENGTH)
    trial = Trial(form, config, 0, STEPS, 2, LENGTH, "float32", 3000, made.neighbours.path.name)
    again = (Evaluation(k=1),) if form == "retro" else (Evaluation(stride=64),)
    return Task(form, trial, Path(where) / form, made, again)


def cell(folder: Path) -> None:
    """A trial of a study, by its worker; with the checkpoints, metrics and evaluations of every training."""
    enter(folder)
    work(_task("gopher", "cells"), 1e9, None, Path("compiled"))


def database(folder: Path) -> None:
    """Builds one, adds to it and removes from it: the steps that are not done yet."""
    enter(folder)
    number = read_version(Path("database")).number if (Path("database") / CURRENT).exists() else 0
    steps = (
        f"build --corpus first --out database --vocab-size {VOCABULARY} --encoder {TINY_BERT} --index IVF4,Flat",
        "add --database database --corpus later",
        "remove --database database --document first-3.txt",
    )
    for step in steps[number:]:
        command(retrieval.retrieval, retrieval.VERBS, "", step.split())


def shards(folder: Path, cluster: str = "") -> None:
    """Builds a database whose keys two workers make, or a cluster's, in dozens of shards."""
    enter(folder)
    embed.SHARD = 32
    build("first", "sharded", f"--index Flat --workers 2 {cluster}")


def on_a_cluster(folder: Path) -> None:
    """The same by Ray."""
    shards(folder, "--cluster local")


def build(corpus: str, out: str, more: str) -> None:
    """A database."""
    line = f"build --corpus {corpus} --out {out} --vocab-size {VOCABULARY} --encoder {TINY_BERT} {more}"
    command(retrieval.retrieval, retrieval.VERBS, "", line.split())


def found(folder: Path) -> None:
    """What a search of a database prints."""
    enter(folder)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        line = ["search", "--database", "served", "--query", "alpha beta gamma"]
        command(retrieval.retrieval, retrieval.VERBS, "", line)
    Path("found").mkdir(exist_ok=True)
    Path("found/printed.txt").write_text(printed.getvalue())


def together(folder: Path, process: int, address: str) -> None:
    """One of two processes of one device each, which train a trial."""
    enter(folder)
    jax.config.update("jax_num_cpu_devices", 1)
    os.environ.update(environment(address, 2, process, devices=1))

    def training(options) -> None:
        trial = dataclasses.replace(read_trial(Path("finished/gopher")), name="together", batch_size=4)
        strategy = strategy_of(trial, make_mesh(parse_mesh_shape("1x2x1")))
        run_trial(trial, reopen(Path("finished/gopher")), strategy, 1e9, Path("together"))

    training.__module__ = publish.publish.__module__
    command(training, publish.Options, "", [], many_processes=True)


def long(folder: Path, steps: int, between: int) -> None:
    """A RETRO of the smoke preset trained for many steps and evaluated every so many."""
    enter(folder)
    host.tune()
    trial = read_trial(Path("finished/retro"))
    trial = dataclasses.replace(trial, steps=steps, evaluate_at=tuple(range(between, steps, between)))
    strategy = strategy_of(trial, make_mesh(parse_mesh_shape("1x1x1")))
    run_trial(trial, reopen(Path("finished/retro")), strategy, 1e9, Path("long"))


def explanation(folder: Path) -> None:
    """generate --explain, of a finished RETRO."""
    enter(folder)
    arguments = "--run finished/retro --prompt alpha --tokens 70 --explain --out generated"
    command(generate.generate, generate.Options, "", arguments.split())


def table(folder: Path) -> None:
    """A study of two rows, whose trials are trained by workers of its own."""
    enter(folder)
    arguments = "gopher --rows ReLU --seeds 1 --steps 3 --out table --artifacts artifacts --cells cells"
    command(ablate.ablate, ablate.Options, "", f"{arguments} {TEXT}".split())


def comparison(folder: Path) -> None:
    """Four models and their report."""
    enter(folder)
    arguments = "--steps 3 --out compared --artifacts artifacts"
    command(compare.compare, compare.Options, "", f"{arguments} {TEXT}".split())


def fitted(folder: Path) -> None:
    """A finished dense model is given retrieval."""
    enter(folder)
    arguments = "--run finished/gopher --steps 3 --mesh 1x1x1 --out retrofitted"
    command(retrofit.retrofit, retrofit.Options, "", arguments.split())


def published(folder: Path) -> None:
    """The pages of the tables in `results`."""
    enter(folder)

    def publishing(options) -> None:
        write(pages(sections(Path("results"))), Path("docs"))

    publishing.__module__ = publish.publish.__module__
    command(publishing, publish.Options, "", [])


def files(*parts: str) -> Callable[[Path], dict[str, str]]:
    """The hashes of all files below these folders, but for what a clock says."""

    def same(folder: Path) -> dict[str, str]:
        found = {}
        for part in parts:
            for path in sorted((folder / part).rglob("*")):
                name = str(path.relative_to(folder))
                passing = path.name.startswith(".") or any(word in name for word in PASSING)
                if path.is_file() and not passing and "checkpoints" not in path.parts:
                    found[name] = _content(path)
            for checkpoints in sorted((folder / part).rglob("checkpoints")):
                newest = max(int(step.name) for step in checkpoints.iterdir() if step.name.isdigit())
                manifest = checkpoints / str(newest) / "manifest/metadata"  # with every leaf's checksum
                found[str(manifest.relative_to(folder))] = manifest.read_text()
        return found

    return same


def _content(path: Path) -> str:
    if path.name == "metrics.jsonl":
        clocks = ("seconds", "tokens_per_second", "mfu")
        lines = [{k: v for k, v in line.items() if k not in clocks} for line in read_metrics(path.parent)]
        return json.dumps(lines)
    if path.suffix == ".json" and path.name in ("results.json", "generation.json"):
        content = json.loads(path.read_bytes())
        for name in ("environment", "peak", "stages", "crc32", "command"):
            content.pop(name, None)
        return json.dumps(_without_clocks(content))
    if path.suffix in (".html", ".png"):  # made of the JSON beside it, with its date
        return ""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _without_clocks(value):
    clocks = ("tokens_per_second", "mfu", "seconds", "peak_bytes", "out", "artifacts", "run")
    if isinstance(value, dict):
        return {name: _without_clocks(inner) for name, inner in value.items() if name not in clocks}
    return [_without_clocks(inner) for inner in value] if isinstance(value, list) else value


JOBS = (
    Job("cell", cell, files("cells")),
    Job("database", database, files("database")),
    Job("generate --explain", explanation, files("generated")),
    Job("publish", published, files("docs")),
    Job("retrofit", fitted, files("retrofitted")),
    Job("study", table, files("table")),
    Job("compare", comparison, files("compared")),
    Job("shards", shards, files("sharded")),
    Job("search", found, files("found")),
)
CLUSTER = Job("ray", on_a_cluster, files("sharded"))
