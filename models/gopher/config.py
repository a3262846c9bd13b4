"""Gopher's configuration and published sizes (arXiv 2112.11446, table 1), and the dense baselines of
RETRO.
"""

from dataclasses import dataclass

from models.decoder import REMATERIALISATION
from models.ladder import HEAD_SIZE, RUNGS, Rung
from models.layers.feed_forward import ACTIVATIONS
from models.layers.norms import NORMS
from models.switches import Dense, require_known

POSITIONS = ("relative", "learned")


@dataclass(frozen=True)
class GopherConfig(Dense):
    """Fields as in table 1. Feed-forward width is 4 · d_model in every published size, the vocabulary 32,000.

    activation: the paper says "GPT-2", hence gelu; relu is the reading of one survey.
    norm: rms as published; layer is the form it replaced.
    positions: relative as published; learned, a table of max_length rows, is the form it replaced.
    max_length, remat, vocab_multiple: see Dense.

    Raises InputError for a switch value that does not exist.
    """

    num_layers: int
    num_heads: int
    head_size: int
    d_model: int
    d_ff: int
    vocab_size: int = 32_000
    activation: str = "gelu"
    norm: str = "rms"
    positions: str = "relative"
    max_length: int = 2048
    remat: str = "none"
    vocab_multiple: int = 1

    def __post_init__(self):
        require_known(self, activation=ACTIVATIONS, norm=NORMS, positions=POSITIONS, remat=REMATERIALISATION)


def of_rung(rung: Rung) -> GopherConfig:
    """The published form at the width and depth of a rung."""
    return GopherConfig(
        rung.num_layers, rung.num_heads, HEAD_SIZE, rung.d_model, d_ff=4 * rung.d_model,
        vocab_size=rung.vocab_size,
    )  # fmt: skip


SIZES = {
    "44m": GopherConfig(num_layers=8, num_heads=16, head_size=32, d_model=512, d_ff=2048),
    "117m": GopherConfig(num_layers=12, num_heads=12, head_size=64, d_model=768, d_ff=3072),
    "417m": GopherConfig(num_layers=12, num_heads=12, head_size=128, d_model=1536, d_ff=6144),
    "1.4b": GopherConfig(num_layers=24, num_heads=16, head_size=128, d_model=2048, d_ff=8192),
    "7.1b": GopherConfig(num_layers=32, num_heads=32, head_size=128, d_model=4096, d_ff=16384),
    "280b": GopherConfig(num_layers=80, num_heads=128, head_size=128, d_model=16384, d_ff=65536),
    "tiny": GopherConfig(num_layers=4, num_heads=2, head_size=64, d_model=128, d_ff=512, vocab_size=4096),
    "smoke": GopherConfig(num_layers=2, num_heads=2, head_size=16, d_model=32, d_ff=128, vocab_size=1024),
}
SIZES |= {name: of_rung(rung) for name, rung in RUNGS.items()}
