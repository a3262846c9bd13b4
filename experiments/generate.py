"""Text from a trained model, and for a RETRO what each chunk of it retrieved and from where.

python -m experiments.generate --run runs/compare/palm/seed-0 --prompt 'def main('
python -m experiments.generate --run runs/compare/retro/seed-0 --prompt-file notes.txt --tokens 256
python -m experiments.generate --run runs/compare/retro/seed-0 --retrieval off --temperature 0
python -m experiments.generate --run runs/compare/retro/seed-0 --prompt-file notes.txt --explain
"""

import dataclasses
import json
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tyro.conf import UseAppendAction

from command import command
from data.token_store import CHUNK
from data.tokenizers import Tokenizer
from errors import InputError
from evaluation.sampling import Generated, Sampling, prompt_keys
from evaluation.sampling import generate as continuations
from models.decoder import Model
from models.families import build
from reports.sources import PAGE_NAME, write_page
from retrieval.database.database import Database
from retrieval.database.live import Retrieved, Retriever, open_retriever, retriever_from, source
from storage.files import write_atomic
from studies.environment import environment
from studies.prepare import Prepared
from studies.sources import explained
from studies.trials.trained import TrainedRun, load_run
from training.precision import cast_for_compute

FILE_NAME = "generation.json"
WIDTH = 110


@dataclass(frozen=True)
class Options:
    """Which model goes on from what, and how."""

    run: Path
    """Folder of a trained model, such as runs/compare/retro/seed-0."""
    prompt: UseAppendAction[tuple[str, ...]] = ()
    """Text to go on from; may be given several times, and may be empty, as it is when none is given."""
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
        print(f"{options.run} was stopped at step {run.step} of {run.trial.steps}.", file=sys.stderr)
    retrieves = run.trial.retrieves and options.retrieval == "on"
    for name, given in (
        ("neighbours", options.neighbours),
        ("database", options.database),
        ("explain", options.explain or None),
    ):
        if given is not None and not retrieves:
            raise InputError(
                f"--{name}{'' if given is True else f' {given}'}: {run.trial.name} retrieves nothing"
                f"{' with --retrieval off' if run.trial.retrieves else ''}. Leave it out, or give the folder "
                "of a RETRO."
            )
    model = _model(run, retrieves, options.neighbours)
    texts = _prompts(options)
    prompts = [
        encoded(text, run.prepared.tokenizer, f"Prompt {number}")
        for number, text in enumerate(texts, start=1)
    ]
    _require_positions(model, prompts, options.tokens)
    retriever = _retriever(run.prepared, model, options.database) if retrieves else None
    made_of = retriever or run.prepared
    params = cast_for_compute(run.params, run.trial.precision)
    if options.tokens:
        keys = prompt_keys(options.seed, len(prompts))
        sampling = Sampling(options.tokens, options.temperature, options.top_p, options.stop)
        results = continuations(model, params, run.prepared.tokenizer, prompts, keys, sampling, retriever)
    else:
        results = [_as_given(prompt, retriever) for prompt in prompts]
    generations = [_described(text, result, made_of) for text, result in zip(texts, results)]
    if options.explain:
        generations = [
            generation | explained(made_of, model, params, result.tokens, result.retrieved)
            for generation, result in zip(generations, results)
        ]
    written = {
        "experiment": "generate",
        "command": shlex.join(["python", "-m", "experiments.generate", *sys.argv[1:]]),
        "options": dataclasses.asdict(options),
        "run": {"cell": dataclasses.asdict(run.trial), "step": run.step},
        "environment": {**environment(), "corpus_hash": run.prepared.corpus_hash},
        "generations": generations,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    write_atomic(options.out / FILE_NAME, json.dumps(written, indent=1, default=str))
    if options.explain:
        write_page(written, options.out / PAGE_NAME)
    else:  # one of another text would mislead
        (options.out / PAGE_NAME).unlink(missing_ok=True)
    for number, generation in enumerate(generations, start=1):
        print(_shown(generation, f"{number} of {len(generations)}"))
    print(options.out / FILE_NAME)
    if options.explain:
        print(options.out / PAGE_NAME)


def encoded(text: str, tokenizer: Tokenizer, name: str) -> np.ndarray:
    """int32 [tokens]: bos and the tokens of a prompt, which messages call `name`.

    Raises:
      InputError: a character has no place in the vocabulary; the message names it and its position.
    """
    try:
        ids = tokenizer.encode(text)
    except InputError as error:
        raise InputError(f"{name} cannot be read. {error}") from error
    if (ids == tokenizer.unk_id).any():
        at = next(i for i in range(len(text)) if tokenizer.unk_id in tokenizer.encode(text[: i + 1]))
        raise InputError(
            f"{name}: the vocabulary does not know character {at}, {text[at]!r}. Leave it out or write it "
            "in another way."
        )
    return np.concatenate([np.array([tokenizer.bos_id], np.int32), ids])


def _require_in_range(options: Options) -> None:
    k, least = options.neighbours, 0 if options.explain else 1
    for name, value, right, words in (
        ("tokens", options.tokens, options.tokens >= least, f"a whole number of at least {least}"),
        ("temperature", options.temperature, 0 <= options.temperature < math.inf, "a number of at least 0"),
        ("top-p", options.top_p, 0 < options.top_p <= 1, "a probability above 0 and at most 1"),
        ("seed", options.seed, 0 <= options.seed < 2**32, "a whole number from 0 to 2^32 - 1"),
        ("neighbours", k, k is None or k >= 1, "a whole number of at least 1"),
        ("stop", options.stop, all(options.stop), "at least one character"),
    ):
        if not right:
            raise InputError(f"--{name} {value}: give {words}.")


def _prompts(options: Options) -> list[str]:
    texts = [*options.prompt]
    for path in options.prompt_file:
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"--prompt-file {path} cannot be read ({error}). Give a file of UTF-8 text."
            ) from error
    return texts or [""]


def _model(run: TrainedRun, retrieves: bool, neighbours: int | None) -> Model:
    config = run.trial.config
    if run.trial.retrieves and not retrieves:
        return build(config.decoder)  # which reads its part of RETRO's parameters
    if neighbours is not None:
        return build(dataclasses.replace(config, evaluation_neighbours=neighbours))
    return run.model


def _require_positions(model: Model, prompts: Sequence[np.ndarray], new_tokens: int) -> None:
    """Learned positions end with the table that they were learned in."""
    decoder = model.config.decoder
    for number, prompt in enumerate(prompts, start=1):
        # The last new token is not read any more.
        if decoder.positions == "learned" and len(prompt) + new_tokens - 1 > decoder.max_length:
            raise InputError(
                f"Prompt {number} has {len(prompt)} tokens and {new_tokens} are to follow, but the model has "
                f"learned positions and only {decoder.max_length} of them. Give a shorter prompt or fewer "
                "--tokens."
            )


def _retriever(prepared: Prepared, model: Model, database: Path | None) -> Retriever:
    k = model.config.k_evaluation
    try:
        if database is not None:
            return retriever_from(Database(database), prepared.tokenizer, k)
        store, encoder = prepared.store, prepared.key_encoder
        return open_retriever(prepared.index_path, store, prepared.tokenizer, encoder, k)
    except InputError as error:
        raise InputError(f"{error} Or generate without neighbours: --retrieval off.") from error


def _as_given(prompt: np.ndarray, retriever: Retriever) -> Generated:
    """A prompt to which nothing is added, with what its chunks retrieve where a token follows them."""
    chunks = prompt[: (len(prompt) - 1) // CHUNK * CHUNK].reshape(-1, CHUNK)
    found = [Retrieved(*fields) for fields in zip(*retriever(chunks))] if len(chunks) else []
    return Generated(len(prompt), prompt, np.zeros(0, np.float32), "", "length", tuple(found))


def _described(prompt: str, result: Generated, made_of: Prepared | Retriever) -> dict[str, Any]:
    """A continuation for the results file, with the sources of all that was retrieved on the way."""
    return {
        "prompt": prompt,
        "continuation": result.text,
        "ended_by": result.ended_by,
        "prompt_tokens": result.prompt_tokens,
        "tokens": result.tokens.tolist(),
        "nats": result.nats.tolist(),
        "chunks": [
            [
                source(made_of.store, made_of.tokenizer, int(chunk), distance)
                for chunk, distance in zip(found.ids, found.distances)
                if chunk >= 0
            ]
            for found in result.retrieved
        ],
    }


def _shown(generation: dict[str, Any], number: str) -> str:
    new_tokens = len(generation["tokens"]) - generation["prompt_tokens"]
    lines = [
        _rule(f"prompt {number}, {generation['prompt_tokens']} tokens"),
        generation["prompt"],
        _rule(f"continuation, {new_tokens} tokens, ended by {generation['ended_by']}"),
        generation["continuation"],
    ]
    if generation["chunks"]:
        lines.append(_rule("retrieved by each 64 tokens, at which distance"))
    for chunk, neighbours in enumerate(generation["chunks"]):
        tokens = f"{CHUNK * chunk}-{CHUNK * (chunk + 1) - 1}"
        for found in neighbours:
            text = " ".join(found["text"].split())
            line = (
                f"{tokens:11s}{found['distance']:7.3f}  chunk {found['chunk']} of {found['source']}: {text}"
            )
            lines.append(line[:WIDTH])
    return "\n".join(lines) + "\n"


def _rule(words: str) -> str:
    return f"--- {words} ".ljust(WIDTH, "-")


if __name__ == "__main__":
    command(generate, Options, "Continue prompts with a trained model, and show what it retrieved.")
