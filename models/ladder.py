"""Sizes between the small ones and the published ones, at which all families have as many parameters.

A rung says what the families share; each makes its own configuration of it, beside its published sizes. The
forms are the published ones at another width and depth: heads of 64, feed-forward layers 4 · d_model wide in
Gopher, and in PaLM as wide as gives its block the 13 · d_model² parameters of Gopher's. RETRO is the dense
Gopher of the rung and what retrieval adds. The vocabulary is small where 32,000 tokens would be most of the
model.
"""

from collections.abc import Mapping
from dataclasses import dataclass

HEAD_SIZE = 64


@dataclass(frozen=True)
class Rung:
    """num_layers, d_model: of the decoder. vocab_size: rows of the embedding, which all families tie."""

    num_layers: int
    d_model: int
    vocab_size: int = 32_000

    @property
    def num_heads(self) -> int:
        return self.d_model // HEAD_SIZE


# By the parameters of the dense families, which differ by less than 0.2 %.
RUNGS: Mapping[str, Rung] = {
    "5m": Rung(num_layers=7, d_model=192, vocab_size=8_192),
    "15m": Rung(num_layers=7, d_model=320, vocab_size=16_384),
    "40m": Rung(num_layers=7, d_model=512),
    "125m": Rung(num_layers=13, d_model=768),
    "350m": Rung(num_layers=24, d_model=1024),
}
