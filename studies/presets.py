"""The budgets that models are compared at: which size, on how much text, for how long."""

from dataclasses import dataclass
from typing import Any

from models.families import with_decoder_fields
from models.flops import train_flops_per_token


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


PRESETS = {
    "default": Preset("tiny", 4096, 512, 2, steps=610, corpus_bytes=8_000_000, evaluation_tokens=240_000),
    "smoke": Preset("smoke", 1024, 128, 2, steps=12, corpus_bytes=300_000, evaluation_tokens=20_000),
}


def train_flops_per_step(config: Any, preset: Preset) -> float:
    """Of a model with the preset's vocabulary, length and batch."""
    sized = with_decoder_fields(config, vocab_size=preset.vocab_size, max_length=preset.length)
    per_token = train_flops_per_token(sized, preset.length, batch_size=preset.batch_size)
    return per_token * preset.batch_size * preset.length
