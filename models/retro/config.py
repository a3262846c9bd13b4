"""RETRO's configuration and published sizes (arXiv 2112.04426, sections 2.3–2.5, tables 2 and 10)."""

from dataclasses import dataclass

from models.gopher.config import GopherConfig


@dataclass(frozen=True)
class RETROConfig:
    """A dense decoder (Gopher's) and what retrieval adds to it.

    cca_layers: the layers, counted from 1, that carry chunked cross-attention: "every third from the sixth"
    (section 2.5). encoder_*: the neighbour encoder; at every published size 2 layers, 896 wide, 16 heads of
    64.
    encoder_embedding: own, a table of its own as published, or shared, the decoder's through a projection (an
    ablation of table 6).
    chunk: m, tokens per chunk. neighbour: r, tokens of a neighbour with its continuation. num_neighbours: k
    in training.
    cca_initialisation: published (like every other matrix), or copying (ours: models/retro/copying.py).
    """

    decoder: GopherConfig
    cca_layers: tuple[int, ...]
    encoder_layers: int = 2
    encoder_d_model: int = 896
    encoder_d_ff: int = 3584
    encoder_num_heads: int = 16
    encoder_head_size: int = 64
    encoder_embedding: str = "own"
    chunk: int = 64
    neighbour: int = 128
    num_neighbours: int = 2
    cca_initialisation: str = "published"

    @property
    def vocab_size(self) -> int:
        return self.decoder.vocab_size


def _published(num_layers: int, num_heads: int, head_size: int, d_model: int) -> RETROConfig:
    decoder = GopherConfig(num_layers, num_heads, head_size, d_model, d_ff=4 * d_model, vocab_size=128_000)
    return RETROConfig(decoder, cca_layers=tuple(range(6, num_layers + 1, 3)))


SIZES = {
    "172m": _published(num_layers=12, num_heads=16, head_size=64, d_model=896),
    "425m": _published(num_layers=12, num_heads=12, head_size=128, d_model=1536),
    "1.5b": _published(num_layers=24, num_heads=16, head_size=128, d_model=2048),
    "7.5b": _published(num_layers=32, num_heads=32, head_size=128, d_model=4096),
    "tiny": RETROConfig(
        GopherConfig(num_layers=4, num_heads=2, head_size=64, d_model=128, d_ff=512, vocab_size=4096),
        cca_layers=(2, 4), encoder_d_model=64, encoder_d_ff=256, encoder_num_heads=2, encoder_head_size=32,
    ),
    "smoke": RETROConfig(
        GopherConfig(num_layers=2, num_heads=2, head_size=16, d_model=32, d_ff=128, vocab_size=1024),
        cca_layers=(2,), encoder_d_model=32, encoder_d_ff=64, encoder_num_heads=2, encoder_head_size=16,
    ),
}  # fmt: skip
