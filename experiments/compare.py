"""PaLM, Gopher and RETRO on the same text, tokens, batches and mesh: the table, with intervals.

python -m experiments.compare --seeds 3                           with intervals over seeds
python -m experiments.compare --preset smoke                      the whole path at a tiny budget
python -m experiments.compare --corpus 'notes/*.md' --steps 500   your own text
"""

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
from tyro.conf import OmitArgPrefixes

from command import command
from errors import InputError
from models.families import FAMILIES, configuration, with_decoder_fields
from parallelism.interface import Parallelism
from parallelism.mesh import make_mesh, parse_mesh_shape, require_divisible
from processes.start import barrier, is_leader
from reports.comparison.page import save_plot, terminal_table, write_report
from reports.sources import PAGE_NAME, write_page
from storage.files import write_atomic
from studies.environment import environment, peak_flops
from studies.leakage import leakage
from studies.prepare import Prepared, Text, prepare_for_all
from studies.presets import PEAK_CONVENTION, PRESETS, Preset
from studies.run_folder import claim
from studies.stages import Stages
from studies.summary import summarise
from studies.trials.train import run_trial, strategy_of
from studies.trials.trial import Trial, TrialResult
from studies.worked_example import FILE_NAME as SOURCES_NAME
from studies.worked_example import example_sources, helped_most, worked_example


@dataclass(frozen=True)
class Options:
    """What may be chosen; what is left out comes from the preset."""

    preset: Literal["default", "smoke"] = "default"
    """Budget: `default` for the comparison, `smoke` for the same path in a minute."""
    corpus: str = "stdlib"
    """`stdlib`, a path, a quoted glob, or hf:NAME[:CONFIG]."""
    seeds: int = 1
    """Number of seeds; three or more give intervals over seeds."""
    steps: int | None = None
    """Training steps of each model."""
    batch_size: int | None = None
    """Sequences in a batch."""
    length: int | None = None
    """Tokens in a sequence, a multiple of 64."""
    tokenizer: Literal["palm", "gopher"] = "palm"
    """SentencePiece in PaLM's lossless manner, or in Gopher's (NFKC)."""
    vocab_size: int | Literal["palm", "gopher", "retro"] | None = None
    """Size of the vocabulary that the models share; a name takes the published 256,000, 32,000 or 128,000."""
    corpus_bytes: int | None = None
    """Text taken from the corpus, at most."""
    evaluation_tokens: int | None = None
    """Held-out tokens that are evaluated, at most."""
    precision: Literal[
        "float32", "mixed", "bfloat16_with_float32_copy", "bfloat16_stochastic_rounding", "bfloat16"
    ] = "float32"
    """What parameters and activations are kept and computed in: training/precision.py explains the five."""
    remat: Literal["none", "dots", "full"] = "none"
    """What a backward pass computes again: nothing, all but matrix products, or everything in a layer."""
    mesh: str = "auto"
    """Devices as PODxDATAxMODEL, such as 1x4x2; auto puts all along data."""
    parallelism: OmitArgPrefixes[Parallelism] = Parallelism()
    encoder: str | None = None
    """BERT that embeds chunks: a folder or a Hugging Face name. Default: the MiniLM installed with the
    project.
    """
    keys: Literal["bert", "tfidf"] = "bert"
    """What chunks are found by: a frozen BERT, averaged over time, or TF-IDF."""
    index: str = "Flat"
    """FAISS factory string: `Flat` is exact, `IVF256,Flat` approximate, `auto` chosen by size."""
    out: Path = Path("runs/compare")
    """Folder of the run; the same command goes on where it stopped."""
    artifacts: Path = Path("runs/artifacts")
    """Folder of token stores and neighbour tables, shared by runs."""


def compare(options: Options) -> None:
    """Runs the comparison and writes results.json, report.html and plot.png into `options.out`."""
    preset = _resolved(options)
    stages = Stages(options.out, options.artifacts)
    mesh = make_mesh(parse_mesh_shape(options.mesh))
    forms = {
        name: with_decoder_fields(
            form, vocab_size=preset.vocab_size, max_length=preset.length, remat=options.remat
        )
        for name, form in _forms(preset).items()
    }
    text = Text(
        options.corpus, preset.corpus_bytes, options.tokenizer, preset.vocab_size, options.encoder,
        options.index, forms["retro"].most_neighbours, options.keys,
    )  # fmt: skip
    config = {
        "preset": options.preset,
        "options": {**_plain(options), **dataclasses.asdict(preset)},
        "models": {name: dataclasses.asdict(config) for name, config in forms.items()},
    }
    planned = {
        name: Trial(
            name, form, 0, preset.steps, preset.batch_size,
            preset.length, options.precision, preset.evaluation_tokens, neighbours="",
        )
        for name, form in forms.items()
    }  # fmt: skip
    for trial in planned.values():  # What cannot be trained so is told before anything is prepared.
        strategy_of(trial, mesh, options.parallelism)
    require_divisible(mesh, preset.batch_size, options.parallelism.micro_batches)
    claim(options.out, _what_makes_the_run(config))
    prepared = prepare_for_all(text, options.artifacts, stages, options.out)
    with stages.measured("measure the machine's peak", may_reuse=False):
        peak = peak_flops()

    results: dict[tuple[str, int], TrialResult] = {}
    trials: dict[tuple[str, int], Trial] = {}
    for seed in range(options.seeds):
        for name, form in planned.items():
            trial = dataclasses.replace(form, seed=seed, neighbours=prepared.neighbours.path.name)
            with stages.measured(f"{name} seed {seed}"):
                folder = options.out / name / f"seed-{seed}"
                results[name, seed] = run_trial(trial, prepared, mesh, peak, folder, how=options.parallelism)
            trials[name, seed] = trial

    if is_leader():
        _report(options.out, options.artifacts, config, prepared, peak, stages, trials, results)
    barrier("the report is written")


def _report(
    out: Path,
    artifacts: Path,
    config: dict,
    prepared: Prepared,
    peak: float,
    stages: Stages,
    trials: dict[tuple[str, int], Trial],
    results: dict[tuple[str, int], TrialResult],
) -> None:
    """Writes what came out, and prints the table."""
    shown = "retro-copying", 0
    helped = helped_most(prepared, trials[shown], results[shown])
    if helped and jax.process_count() == 1:  # one of many cannot read a checkpoint alone
        with stages.measured("sources of an example"):
            folder = out / shown[0] / f"seed-{shown[1]}"
            sources = example_sources(artifacts, prepared, trials[shown], helped, folder)
    else:
        sources = None
    with stages.measured("report", may_reuse=False):
        summary = summarise(prepared, trials, results)
        written = {
            "experiment": "compare",
            "command": " ".join(["python -m experiments.compare", *sys.argv[1:]]),
            "config": config,
            "environment": {**environment(), "corpus_hash": prepared.corpus_hash},
            "peak": {"flops_per_second": peak, "convention": PEAK_CONVENTION},
            "stages": stages.rows,
            **summary,
            "leakage": leakage(prepared, trials, results),
            "example": helped and worked_example(prepared, trials[shown], helped),
            "sources": sources and PAGE_NAME,
        }
        write_atomic(out / "results.json", json.dumps(written, indent=1))
        write_report(written, out / "report.html")
        save_plot(written, out / "plot.png")
        if sources:
            told = {name: written[name] for name in ("experiment", "command", "environment")}
            told["generations"] = [sources]
            write_atomic(out / SOURCES_NAME, json.dumps(told, indent=1))
            write_page(told, out / PAGE_NAME)
    print(terminal_table(written))
    print(f"\n{out / 'results.json'}\n{out / 'report.html'}")


def _resolved(options: Options) -> Preset:
    """The preset with the options that were given in its place."""
    fields = {field.name for field in dataclasses.fields(Preset)} & {
        f.name for f in dataclasses.fields(Options)
    }
    given = {name: getattr(options, name) for name in fields if getattr(options, name) is not None}
    if given.get("vocab_size") in FAMILIES:
        given["vocab_size"] = FAMILIES[given["vocab_size"]].vocab_size
    for name, value in {**given, "seeds": options.seeds}.items():
        if value < 1:
            raise InputError(f"--{name.replace('_', '-')} {value}: give a whole number of at least 1.")
    return dataclasses.replace(PRESETS[options.preset], **given)


def _forms(preset: Preset) -> dict[str, Any]:
    """The four models, by the name of their folder. RETRO stands twice: as published, and as ours that starts
    out copying.
    """
    return {
        "palm": configuration(f"palm/{preset.size}"),
        "gopher": configuration(f"gopher/{preset.size}"),
        "retro": configuration(f"retro/{preset.size}"),
        "retro-copying": configuration(f"retro/{preset.size}-copying"),
    }


def _what_makes_the_run(config: dict) -> dict:
    """`config` without what may change between two commands that go on with one run."""
    free = {"seeds", "mesh", "parallelism", "out", "artifacts"}
    return {**config, "options": {name: v for name, v in config["options"].items() if name not in free}}


def _plain(options: Options) -> dict:
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(options).items()
    }


if __name__ == "__main__":
    command(
        compare, Options, "Train and compare PaLM, Gopher and RETRO on the same text.", many_processes=True
    )
