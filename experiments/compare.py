"""Which of PaLM, Gopher and RETRO predicts the same text best, on the same tokens, batches and mesh?

python -m experiments.compare                                     one seed
python -m experiments.compare --seeds 3                           with intervals over seeds
python -m experiments.compare --preset smoke                      the whole path in three minutes
python -m experiments.compare --corpus 'notes/*.md' --steps 500   your own text

Must reach over three seeds, on the text and split of commit f8a5c403342b: PaLM 1.971, Gopher 1.998, RETRO
1.999, started as a copying circuit 1.959 bits per byte (experiments/results/compare).
"""

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
from tyro.conf import OmitArgPrefixes

from command import command, require_positive
from data.tokenised import HeldOut
from models.families import FAMILIES, configuration, with_decoder_fields
from parallelism.interface import Parallelism
from parallelism.mesh import batch_ways, make_mesh, parse_mesh_shape, require_divisible
from processes.start import barrier, is_leader
from reports.comparison.page import save_plot, terminal_table, write_report
from reports.sources import PAGE_NAME, write_page
from studies.environment import peak_facts, peak_flops
from studies.fitting import require_fit
from studies.leakage import leakage
from studies.peaks import peak_of
from studies.prepare import Prepared, Text, prepare_for_all
from studies.presets import Preset, PresetName, preset_of
from studies.results_file import write_results
from studies.run_folder import claim, require_free, sole
from studies.stages import Stages
from studies.summary import Trained, summarise
from studies.trials.held_out import evaluation_batch, few_in_view, require_text, share_beside_neighbours
from studies.trials.train import run_trial, strategy_of
from studies.trials.trial import Trial
from studies.worked_example import FILE_NAME as SOURCES_NAME
from studies.worked_example import example_sources, helped_most, worked_example
from training.checkpoints import require_plain


@dataclass(frozen=True)
class Options:
    """What may be chosen; what is left out comes from the preset."""

    preset: PresetName = "default"
    """Budget: `default`, `smoke` for the same path in minutes, `gpu` or `pod` (not run yet)."""
    size: str | None = None
    """Size of the models, such as 40m, with its vocabulary. Default: the preset's."""
    tokens: str | None = None
    """Training tokens of each model, such as 50M; or --steps."""
    corpus: str = "installed"
    """`installed` (the pinned packages and the standard library), `stdlib`, a path, a quoted glob, or
    hf:NAME[:CONFIG].
    """
    held_out: HeldOut = "group"
    """What is held out: whole packages (`group`), or documents wherever they come from."""
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
    """Folder of the run; the same command resumes where it stopped."""
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
        options.index, forms["retro"].most_neighbours, options.keys, options.held_out,
    )  # fmt: skip
    config = {
        "preset": options.preset,
        "options": dataclasses.asdict(options) | dataclasses.asdict(preset),
        "models": {name: dataclasses.asdict(config) for name, config in forms.items()},
    }
    planned = {
        name: Trial(
            name, form, 0, preset.steps, preset.batch_size,
            preset.length, options.precision, preset.evaluation_tokens, neighbours="", peak=peak_of(form),
            evaluation_batch=evaluation_batch(preset.batch_size, preset.length, batch_ways(mesh)),
        )
        for name, form in forms.items()
    }  # fmt: skip
    # What cannot be trained is refused before anything is prepared, and the folder claimed only when all is
    # known to work.
    how = {}
    for name, trial in planned.items():
        strategy_of(trial, mesh, options.parallelism)
        how[name] = require_fit(trial, mesh, options.parallelism)
    require_divisible(mesh, preset.batch_size, options.parallelism.micro_batches)
    require_plain(options.out)
    require_free(options.out, _what_makes_the_run(config))
    with sole(options.out):
        prepared = prepare_for_all(text, options.artifacts, stages, options.out)
        for trial in planned.values():
            require_text(trial, prepared.neighbours)
        warning = few_in_view(share_beside_neighbours(planned["retro"], prepared.neighbours))
        if warning and is_leader():
            print(f"Warning: {warning}", file=sys.stderr)
        claim(options.out, _what_makes_the_run(config))
        with stages.measured("measure the machine's peak", may_reuse=False):
            peak = peak_flops()
        trained = _trained(options, planned, how, prepared, mesh, peak, stages)
        if is_leader():
            _report(options, {"config": config, "peak": peak_facts(peak)}, stages, trained)
        barrier("the report is written")


def _trained(
    options: Options, planned: Mapping[str, Trial], how: Mapping[str, Parallelism], prepared: Prepared,
    mesh: jax.sharding.Mesh, peak: float, stages: Stages,
) -> Trained:  # fmt: skip
    """Every model of every seed, trained and evaluated."""
    trained = Trained(prepared, {}, {})
    for seed in range(options.seeds):
        for name, form in planned.items():
            trial = dataclasses.replace(form, seed=seed, neighbours=prepared.neighbours.path.name)
            folder = options.out / name / f"seed-{seed}"
            with stages.measured(f"{name} seed {seed}"):
                strategy = strategy_of(trial, mesh, how[name])
                result = run_trial(trial, prepared, strategy, peak, folder)
            trained.trials[name, seed], trained.results[name, seed] = trial, result
    return trained


def _report(options: Options, facts: dict[str, Any], stages: Stages, trained: Trained) -> None:
    """Writes what came out beside the `facts`, and prints the table."""
    out, prepared, key = options.out, trained.prepared, ("retro-copying", 0)
    trial, sources = trained.trials[key], None
    helped = helped_most(prepared, trial, trained.results[key])
    if helped and jax.process_count() == 1:  # one of many cannot read a checkpoint alone
        with stages.measured("sources of an example"):
            folder = out / key[0] / f"seed-{key[1]}"
            sources = example_sources(options.artifacts, prepared, trial, helped, folder)
    with stages.measured("report", may_reuse=False):
        content = {
            **facts,
            "stages": stages.rows,
            **summarise(*trained),
            "leakage": leakage(*trained),
            "example": helped and worked_example(prepared, trial, helped),
            "sources": sources and PAGE_NAME,
        }
        corpus_hash = prepared.corpus_hash
        results = write_results(out / "results.json", "compare", content, corpus_hash=corpus_hash)
        write_report(results, out / "report.html")
        save_plot(results, out / "plot.png")
        if sources:
            content = {"generations": [sources]}
            page = write_results(out / SOURCES_NAME, "compare", content, corpus_hash=corpus_hash)
            write_page(page, out / PAGE_NAME)
    print(terminal_table(results))
    print(f"\n{out / 'results.json'}\n{out / 'report.html'}")


def _resolved(options: Options) -> Preset:
    """The preset with the options that were given in its place."""
    fields = {field.name for field in dataclasses.fields(Preset)} & {
        f.name for f in dataclasses.fields(Options)
    }
    given = {name: getattr(options, name) for name in fields - {"size"}}
    if given["vocab_size"] in FAMILIES:
        given["vocab_size"] = FAMILIES[given["vocab_size"]].vocab_size
    preset = preset_of(options.preset, options.size, options.tokens, **given)
    require_positive(preset, *given)
    require_positive(options, "seeds")
    return preset


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
    """`config` without what may change between two commands of one run."""
    free = {"seeds", "tokens", "mesh", "parallelism", "out", "artifacts"}
    corpus = str(Path(config["options"]["corpus"]))  # notes and notes/ are one
    options = {name: v for name, v in config["options"].items() if name not in free} | {"corpus": corpus}
    return {**config, "options": options}


if __name__ == "__main__":
    description = "Train and compare PaLM, Gopher and RETRO on the same text."
    command(compare, Options, description, many_processes=True)
