"""What does a trained model write, and for a RETRO: what did each chunk of it retrieve, and from where?

python -m experiments.generate --run runs/compare/palm/seed-0 --prompt 'def main('
python -m experiments.generate --run runs/compare/retro/seed-0 --prompt-file notes.txt --tokens 256
python -m experiments.generate --run runs/compare/retro/seed-0 --retrieval off --temperature 0
python -m experiments.generate --run runs/compare/retro/seed-0 --prompt-file notes.txt --explain

An example with its command is committed: 250 tokens, 701.5 nats with neighbours and 711.6 without
(experiments/results/generate).
"""

import dataclasses
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import UseAppendAction

from command import MAY_BE_EMPTY, command
from errors import InputError
from evaluation.sampling import Sampling, prompt_keys
from evaluation.sampling import generate as continuations
from progress import printable
from reports.generation import continuation
from reports.sources import PAGE_NAME, write_page
from storage.files import regular
from studies.generation import as_given, described, encoded, model_of, require_positions, retriever_of
from studies.results_file import write_results
from studies.sources import explained
from studies.trials.trained import TrainedRun, load_run
from training.precision import cast_for_compute

FILE_NAME = "generation.json"
MOST_TOKENS = 10**6  # for which a model's cache has places


@dataclass(frozen=True)
class Options:
    """Which model continues what, and how."""

    run: Path
    """Folder of a trained model, such as runs/compare/retro/seed-0."""
    prompt: UseAppendAction[tuple[str, ...]] = field(default=(), metadata=MAY_BE_EMPTY)
    """Text to continue; may be given several times, and may be empty, as it is when none is given."""
    prompt_file: UseAppendAction[tuple[Path, ...]] = ()
    """UTF-8 file whose text is a prompt; may be given several times."""
    tokens: int = 128
    """New tokens for each prompt, at most; 0 explains the prompts alone (--explain)."""
    temperature: float = 1.0
    """0 takes the likeliest token, 1 samples as the model was trained to."""
    top_p: float = 0.9
    """Sample from the likeliest tokens that together have this probability; 1 for all tokens."""
    stop: UseAppendAction[tuple[str, ...]] = ()
    """Text before which a continuation ends; may be given several times."""
    seed: int = 0
    """The same seed and prompts give the same text."""
    retrieval: Literal["on", "off"] = "on"
    """Whether a RETRO retrieves; other models never do."""
    neighbours: int | None = None
    """Neighbours that a RETRO retrieves for each chunk. Default: the number it is evaluated with."""
    database: Path | None = None
    """Folder of a database that experiments.retrieval built with the run's tokenizer, to retrieve from.
    Default: the text that the model was trained on.
    """
    explain: bool = False
    """Also write sources.html: each chunk beside its neighbours, and what they did to every token."""
    out: Path = Path("runs/generate")
    """Folder for generation.json and sources.html, which are replaced."""


def generate(options: Options) -> None:
    """Prints the continuations and writes generation.json, and with --explain sources.html, into
    `options.out`.
    """
    _require_in_range(options)
    run = load_run(options.run)
    if run.step < run.trial.steps:
        stopped = f"{options.run} was stopped at step {run.step} of {run.trial.steps}."
        print(printable(stopped), file=sys.stderr)
    retrieves = run.trial.retrieves and options.retrieval == "on"
    if not retrieves:
        _require_no_retrieval(options, run)
    model = model_of(run, retrieves, options.neighbours)
    texts, tokenizer = _prompts(options), run.prepared.tokenizer
    prompts = [encoded(text, tokenizer, f"Prompt {number}") for number, text in enumerate(texts, start=1)]
    require_positions(model, prompts, options.tokens)
    retriever = retriever_of(run.prepared, model, options.database) if retrieves else None
    made_of = retriever or run.prepared
    params = cast_for_compute(run.params, run.trial.precision)
    if options.tokens:
        keys = prompt_keys(options.seed, len(prompts))
        sampling = Sampling(options.tokens, options.temperature, options.top_p, options.stop)
        results = continuations(model, params, tokenizer, prompts, keys, sampling, retriever)
    else:
        results = [as_given(prompt, retriever) for prompt in prompts]
    generations = [described(text, result, made_of) for text, result in zip(texts, results)]
    if options.explain:
        generations = [
            generation | explained(made_of, model, params, result.tokens, result.retrieved)
            for generation, result in zip(generations, results)
        ]
    content = {
        "options": dataclasses.asdict(options),
        "run": {"cell": dataclasses.asdict(run.trial), "step": run.step},
        "generations": generations,
    }
    path, page = options.out / FILE_NAME, options.out / PAGE_NAME
    written = write_results(path, "generate", content, corpus_hash=run.prepared.corpus_hash)
    if options.explain:
        write_page(written, page)
    else:  # one of another text would mislead
        page.unlink(missing_ok=True)
    for number, generation in enumerate(generations, start=1):
        print(continuation(generation, f"{number} of {len(generations)}"))
    print(printable("\n".join(map(str, [path, page] if options.explain else [path]))))


def _require_in_range(options: Options) -> None:
    k, least = options.neighbours, 0 if options.explain else 1
    tokens = f"at least {least} and at most {MOST_TOKENS:,}"
    for name, value, right, words in (
        ("tokens", options.tokens, least <= options.tokens <= MOST_TOKENS, f"a whole number of {tokens}"),
        ("temperature", options.temperature, 0 <= options.temperature < math.inf, "a number of at least 0"),
        ("top-p", options.top_p, 0 < options.top_p <= 1, "a probability above 0 and at most 1"),
        ("seed", options.seed, 0 <= options.seed < 2**32, "a whole number from 0 to 2^32 - 1"),
        ("neighbours", k, k is None or 1 <= k < 2**31, "a whole number of at least 1"),
        ("stop", options.stop, all(options.stop), "at least one character"),
    ):
        if not right:
            raise InputError(f"--{name} {value}: give {words}.")


def _require_no_retrieval(options: Options, run: TrainedRun) -> None:
    """Raises InputError where an option asks for what a model without retrieval does not do."""
    for name, value in (
        ("neighbours", options.neighbours),
        ("database", options.database),
        ("explain", options.explain or None),
    ):
        if value is not None:
            raise InputError(
                f"--{name}{'' if value is True else f' {value}'}: {run.trial.name} retrieves nothing"
                f"{' with --retrieval off' if run.trial.retrieves else ''}. Leave it out, or give the folder "
                "of a RETRO."
            )


def _prompts(options: Options) -> list[str]:
    texts = [*options.prompt]
    for path in options.prompt_file:
        try:
            texts.append(regular(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"--prompt-file {path} cannot be read ({error}). Give a file of UTF-8 text."
            ) from error
    return texts or [""]


if __name__ == "__main__":
    command(generate, Options, "Continue prompts with a trained model, and show what it retrieved.")
