"""The budgets that models are compared at: which size, on how much text, for how long."""

import dataclasses
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from command import amount
from errors import InputError
from models.families import FAMILIES, configuration, with_decoder_fields
from models.flops import train_flops_per_token

PresetName = Literal["default", "smoke", "gpu", "pod"]


@dataclass(frozen=True)
class Preset:
    """A budget: which model size, on how much text, for how long."""

    size: str
    vocab_size: int
    length: int
    batch_size: int
    steps: int
    corpus_bytes: int
    evaluation_tokens: int


PRESETS: dict[str, Preset] = {
    "default": Preset("tiny", 4096, 512, 2, steps=610, corpus_bytes=8_000_000, evaluation_tokens=240_000),
    "smoke": Preset("smoke", 1024, 128, 2, steps=12, corpus_bytes=300_000, evaluation_tokens=20_000),
    # 500M tokens of each model, and 7B. Neither was run: no such device was at hand.
    "gpu": Preset(
        "40m", 32_000, 2048, 64, steps=3815, corpus_bytes=2_000_000_000, evaluation_tokens=2_000_000
    ),
    "pod": Preset(
        "350m", 32_000, 2048, 512, steps=6676, corpus_bytes=28_000_000_000, evaluation_tokens=2_000_000
    ),
}


def preset_of(name: str, size: str | None, tokens: str | None, **given: Any) -> Preset:
    """The preset `name` with the size and the budget that were asked for.

    Args:
        size: one that every family has; it brings its vocabulary. tokens: of training, in place of steps.
        given: other fields of the preset; None leaves one as it is.

    Raises:
        InputError: there is no such size, or both tokens and steps are given.
    """
    fields = {field: value for field, value in given.items() if value is not None}
    if size is not None:
        known = [one for one in FAMILIES["gopher"].sizes if all(one in f.sizes for f in FAMILIES.values())]
        if size not in known:
            near = get_close_matches(size, known, cutoff=0.4) or known
            raise InputError(
                f"--size {size}: give one that every family has, such as {', '.join(near)}. "
                "`python -m experiments.sizes` shows all."
            )
        fields = {"size": size, "vocab_size": configuration(f"gopher/{size}").vocab_size} | fields
    preset = dataclasses.replace(PRESETS[name], **fields)
    if tokens is not None:
        if "steps" in fields:
            raise InputError("Give either --tokens or --steps.")
        steps = -(-amount(tokens, "--tokens") // (preset.batch_size * preset.length))
        preset = dataclasses.replace(preset, steps=steps)
    return preset


def train_flops_per_step(config: Any, preset: Preset) -> float:
    """Of a model with the preset's vocabulary, length and batch."""
    sized = with_decoder_fields(config, vocab_size=preset.vocab_size, max_length=preset.length)
    per_token = train_flops_per_token(sized, preset.length, batch_size=preset.batch_size)
    return per_token * preset.batch_size * preset.length
