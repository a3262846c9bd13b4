"""How good does one model become, of any family and size, on this text?

python -m experiments.train gopher/5m --tokens 5M
python -m experiments.train retro/40m --tokens 200M --corpus 'notes/*.md' --keys tfidf
python -m experiments.train gopher/44m --steps 200 --dry-run     will it fit, how long will it take
python -m experiments.train palm/40m --steps 1000 --set block=serial

The recipe is that of the paper: peak, batch and clip of a published size as printed, of another one on the
line through the published ones (training/published.py). `generate` and `retrofit` read the folder.
"""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import jax
import tyro

from command import amount, command, require_positive
from data.token_store import CHUNK
from data.tokenised import TOKENIZER, HeldOut
from data.tokenizers import STYLES
from errors import InputError
from models.families import (
    FAMILIES,
    configuration,
    count,
    family_of,
    parameter_shapes,
    with_decoder_fields,
)
from models.fields import with_fields
from parallelism.interface import Parallelism
from parallelism.mesh import batch_ways, make_mesh, parse_mesh_shape, require_divisible
from processes.start import barrier, is_leader
from reports.single import needs, table
from studies.environment import peak_facts, peak_flops
from studies.fitting import Need, fitted, need_of, predicted_seconds, too_large
from studies.prepare import Text, prepare_for_all
from studies.results_file import write_results
from studies.run_folder import FILE_NAME as CLAIM
from studies.run_folder import require_free, sole
from studies.single import summary
from studies.stages import Stages
from studies.trials.held_out import evaluation_batch, few_in_view, require_text, share_beside_neighbours
from studies.trials.train import Upkeep, run_trial, started_from, strategy_of
from studies.trials.trained import TrainedRun, load_start
from studies.trials.trial import Trial
from training.checkpoints import fingerprint, require_plain
from training.published import Published, published
from training.spikes import Range, Skipped, SpikeRule, merged, read_skipped, write_skipped


@dataclass(frozen=True)
class Options:
    """Which model, on what text, for how long."""

    model: Annotated[str, tyro.conf.Positional]
    """FAMILY/SIZE, such as gopher/44m; `python -m experiments.sizes` shows all."""
    set: tuple[str, ...] = ()
    """Other values of its fields, such as num_layers=6, or decoder.num_layers=6 of RETRO."""
    tokens: str | None = None
    """Training tokens, such as 2B; or --steps."""
    steps: int | None = None
    """Training steps."""
    batch_tokens: str | None = None
    """Tokens of a batch, such as 0.25M. Default: the paper's, at the nearest published size."""
    length: int | None = None
    """Tokens in a sequence, a multiple of 64. Default: the model's, 2,048."""
    corpus: str = "installed"
    """`installed` (the pinned packages and the standard library), `stdlib`, a path, a quoted glob, or
    hf:NAME[:CONFIG].
    """
    corpus_bytes: int | None = None
    """Text taken from the corpus, at most. Default: all."""
    held_out: HeldOut = "group"
    """What is held out: whole packages (`group`), or documents wherever they come from."""
    tokenizer: str | None = None
    """`palm` (SentencePiece in PaLM's lossless manner), `gopher` (NFKC), or a SentencePiece model's file.
    Default: the family's manner; with --from, that run's own.
    """
    evaluation_tokens: int = 240_000
    """Held-out tokens that are evaluated, at most."""
    evaluate_every: int | None = None
    """Steps between evaluations. Default: at the end alone."""
    seed: int = 0
    """Of initial parameters and of the order of the text."""
    peak: float | None = None
    """Largest learning rate. Default: the paper's, or on the line through its sizes."""
    decay: float | None = None
    """The last share of the run over which the rate falls, after it stood at its peak. Default: the recipe's
    curve.
    """
    precision: (
        Literal["float32", "mixed", "bfloat16_with_float32_copy", "bfloat16_stochastic_rounding", "bfloat16"]
        | None
    ) = None
    """What parameters and activations are kept and computed in (training/precision.py). Default: the paper's,
    or float32 on a CPU.
    """
    remat: Literal["none", "dots", "full"] = "none"
    """What a backward pass computes again: nothing, all but matrix products, or everything in a layer."""
    mesh: str = "auto"
    """Devices as PODxDATAxMODEL, such as 1x4x2; auto puts all along data."""
    strategy: Literal["mesh", "pods", "pipeline", "pmap"] = "mesh"
    """One program over the whole mesh; one per pod; one per pipeline stage; or pmap, data parallel alone."""
    micro_batches: int | Literal["auto"] = "auto"
    """Parts that a batch is cut into, one after another; auto: as many as the memory asks for."""
    from_: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Folder of a run of the same model whose parameters this one starts from."""
    keys: Literal["bert", "tfidf"] = "bert"
    """What chunks are found by: a frozen BERT, averaged over time, or TF-IDF."""
    encoder: str | None = None
    """BERT that embeds chunks: a folder or a Hugging Face name. Default: the MiniLM installed with the
    project.
    """
    index: str = "auto"
    """FAISS factory string: `Flat` is exact, `IVF256,Flat` approximate, `auto` chosen by size."""
    checkpoint_every: int | None = None
    """Steps between checkpoints. Default: a tenth of the run."""
    keep: int = 2
    """Newest checkpoints that are kept."""
    spike_rise: float | None = None
    """A loss so many nats above the median of the last 100 steps is gone back before (PaLM, section 5.1)."""
    spike_norm: float | None = None
    """So is a gradient norm so many times their median."""
    spike_back: int = 100
    """Steps to go back, at least."""
    spike_skip: int = 200
    """Batches that are left out after the spike."""
    skip: tuple[str, ...] = ()
    """Batches to leave out from the start, such as 120:330."""
    profile: str | None = None
    """Steps to trace into the folder, as START:COUNT, such as 100:5; XProf and Perfetto open the trace."""
    dry_run: bool = False
    """Say whether it fits and how long it takes, and train nothing."""
    anyway: bool = False
    """Train though the memory is not expected to suffice."""
    out: Path | None = None
    """Folder of the run; the same command resumes where it stopped. Default: runs/train/FAMILY-SIZE."""
    artifacts: Path = Path("runs/artifacts")
    """Folder of token stores and neighbour tables, shared by runs."""


def train(options: Options) -> None:
    """Trains and evaluates the model, and writes results.json into the folder."""
    require_positive(
        options, "steps", "length", "corpus_bytes", "evaluation_tokens", "evaluate_every", "checkpoint_every",
        "keep", "spike_back",
    )  # fmt: skip
    mesh = make_mesh(parse_mesh_shape(options.mesh))
    out = options.out or Path("runs/train") / options.model.replace("/", "-")
    require_plain(out)
    trial, recipe = planned(options, mesh)
    profile = None
    if options.profile is not None:
        first, length = _numbers(options.profile, "--profile", "START:COUNT, such as 100:5")
        profile = range(first, first + max(1, length))
    upkeep = Upkeep(options.checkpoint_every, options.keep, _spike_rule(options), profile)
    skipped = merged(_numbers(text, "--skip", "START:STOP, such as 120:330") for text in options.skip)
    start = load_start(options.from_, trial.config, mesh) if options.from_ is not None else None
    if start:
        trial = dataclasses.replace(trial, start=fingerprint(start.params))
    how, need = _cut(options, trial, mesh)
    peak = peak_flops()
    seconds = predicted_seconds(need, family_of(trial.config).name, trial.steps, peak) if need else None
    if is_leader():
        print(
            needs(trial, count(parameter_shapes(trial.config)), recipe, how, need, seconds), file=sys.stderr
        )
    if options.dry_run:
        return
    if need and not need.fits and not options.anyway:
        raise InputError(f"{too_large(trial, need)} Or give --anyway.")
    stages = Stages(out, options.artifacts)
    text = _text(options, trial, start)
    with sole(out):
        prepared = prepare_for_all(text, options.artifacts, stages, out)
        trial = dataclasses.replace(trial, neighbours=prepared.neighbours.path.name)
        require_free(out, trial.recorded)
        require_text(trial, prepared.neighbours)
        if trial.retrieves and is_leader():
            if warning := few_in_view(share_beside_neighbours(trial, prepared.neighbours)):
                print(f"Warning: {warning}", file=sys.stderr)
        if is_leader():
            _leave_out(out, skipped)
        barrier("what is left out is written")
        strategy = strategy_of(trial, mesh, how)
        if start:
            strategy = started_from(start.params, strategy)
        with stages.measured("train and evaluate"):
            result = run_trial(trial, prepared, strategy, peak, out, upkeep)
        if is_leader():
            content = {
                "config": dataclasses.asdict(trial) | {"micro_batches": how.micro_batches},
                "recipe": dataclasses.asdict(recipe),
                "need": need and dataclasses.asdict(need) | {"seconds": seconds},
                "peak": peak_facts(peak),
                "stages": stages.rows,
                "spikes": [dict(spike) for spike in read_skipped(out).spikes],
                **summary(trial, prepared, result),
            }
            path = out / "results.json"
            print(table(write_results(path, "train", content, corpus_hash=prepared.corpus_hash)))
            print(f"\n{path}")
        barrier("the report is written")


def planned(options: Options, mesh: jax.sharding.Mesh) -> tuple[Trial, Published]:
    """The trial that the options ask for, of no text yet, and how its paper would train it.

    Raises:
        InputError: an option does not fit the model, or another option.
    """
    config = with_fields(configuration(options.model), options.set)
    family, size = options.model.split("/")
    config = with_decoder_fields(config, remat=options.remat)
    if options.length is not None:
        if options.length % CHUNK:
            raise InputError(f"--length {options.length}: give a multiple of {CHUNK}.")
        config = with_decoder_fields(config, max_length=options.length)
    length = config.max_length
    recipe = published(family, size, count(parameter_shapes(config)))
    batch_tokens = (
        amount(options.batch_tokens, "--batch-tokens") if options.batch_tokens else recipe.batch_tokens
    )
    batch_size = max(1, round(batch_tokens / length))
    if (options.tokens is None) == (options.steps is None):
        raise InputError("Give either --tokens, such as --tokens 50M, or --steps.")
    steps = options.steps or -(-amount(options.tokens or "", "--tokens") // (batch_size * length))
    every = options.evaluate_every
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    trial = Trial(
        options.model.replace("/", "-"), config, options.seed, steps, batch_size, length,
        options.precision or ("float32" if on_cpu else FAMILIES[family].precision),
        options.evaluation_tokens, neighbours="",
        peak=recipe.peak if options.peak is None else options.peak,
        clip=None if recipe.clip == 1.0 else recipe.clip,
        decay=options.decay,
        evaluate_at=tuple(range(every, steps, every)) if every else (),
        evaluation_batch=evaluation_batch(batch_size, length, batch_ways(mesh)),
    )  # fmt: skip
    return trial, recipe


def _text(options: Options, trial: Trial, start: TrainedRun | None) -> Text:
    tokenizer = options.tokenizer or family_of(trial.config).tokenizer
    if start:
        own = start.prepared.artifact(start.prepared.tokenizer_name) / TOKENIZER
        if options.tokenizer is not None and not (
            Path(tokenizer).is_file() and Path(tokenizer).read_bytes() == own.read_bytes()
        ):
            raise InputError(
                f"--tokenizer {tokenizer} is not that of --from {options.from_}, whose parameters mean other "
                "pieces with it. Leave --tokenizer out: the run's own is taken."
            )
        tokenizer = str(own)
    if tokenizer not in STYLES and not Path(tokenizer).is_file():
        raise InputError(
            f"--tokenizer {tokenizer}: give one of {', '.join(STYLES)}, or the file of a SentencePiece model."
        )
    return Text(
        options.corpus, options.corpus_bytes, tokenizer, trial.config.vocab_size,
        options.encoder, options.index, trial.config.num_neighbours and trial.config.most_neighbours,
        options.keys, options.held_out,
    )  # fmt: skip


def _cut(options: Options, trial: Trial, mesh: jax.sharding.Mesh) -> tuple[Parallelism, Need | None]:
    """How a step is taken, and what it takes of the machine; None where the strategy does not tell."""
    if options.micro_batches == "auto":
        require_divisible(mesh, trial.batch_size)
        return fitted(trial, mesh, Parallelism(options.strategy))
    how = Parallelism(options.strategy, micro_batches=options.micro_batches)
    require_divisible(mesh, trial.batch_size, how.micro_batches)
    return how, need_of(trial, mesh, how) if options.strategy == "mesh" else None


def _spike_rule(options: Options) -> SpikeRule | None:
    if options.spike_rise is None and options.spike_norm is None:
        return None
    for name in ("spike_rise", "spike_norm"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise InputError(f"--{name.replace('_', '-')} {value}: give a number above 0.")
    if options.spike_skip < 0:
        raise InputError(f"--spike-skip {options.spike_skip}: give a whole number of at least 0.")
    return SpikeRule(options.spike_rise, options.spike_norm, options.spike_back, options.spike_skip)


def _leave_out(out: Path, skipped: tuple[Range, ...]) -> None:
    """Writes what is to be left out; InputError where the run has begun without."""
    there = read_skipped(out)
    if merged((*there.ranges, *skipped)) == there.ranges:
        return
    if (out / CLAIM).exists():
        named = " ".join(f"{start}:{stop}" for start, stop in skipped)
        raise InputError(f"The run in {out} has begun without --skip {named}. Give another --out.")
    write_skipped(out, Skipped(skipped))


def _numbers(text: str, option: str, form: str) -> tuple[int, int]:
    first, colon, second = text.partition(":")
    if not (colon and first.isdecimal() and second.isdecimal()):
        raise InputError(f"{option} {text}: give {form}.")
    return int(first), int(second)


if __name__ == "__main__":
    command(train, Options, "Train one model of any family and size.", many_processes=True)
