"""RETRO's configuration and published sizes (arXiv 2112.04426, sections 2.3–2.5, tables 2 and 10)."""

import dataclasses
from dataclasses import dataclass

from errors import InputError
from models.gopher.config import GopherConfig
from models.gopher.config import of_rung as gopher_of_rung
from models.ladder import HEAD_SIZE, RUNGS, Rung
from models.layers.feed_forward import ACTIVATIONS
from models.palm.config import PaLMConfig
from models.switches import require_known

ENCODER_EMBEDDINGS = ("own", "shared")
CCA_INITIALISATIONS = ("published", "copying")
NEIGHBOUR_CONTENTS = ("both", "neighbour", "continuation")


@dataclass(frozen=True)
class RETROConfig:
    """A dense decoder and what retrieval adds to it. The switches are those of table 6's ablations; the
    defaults are the published form.

    decoder: Gopher's, as published; or PaLM's, so that both blocks exist with and without retrieval.
    cca_layers: the layers, counted from 1, that carry chunked cross-attention: "every third from the sixth"
    (section 2.5).
    encoder_*: the neighbour encoder; at every published size 2 layers, 896 wide, 16 heads of 64.
    encoder_embedding: own, a table of its own; or shared, the decoder's through a projection.
    encoder_conditioned: whether the encoder attends to the chunk that did the retrieving.
    cca_positions: whether chunked cross-attention has relative positions.
    chunk: m, tokens per chunk. neighbour: r, tokens of a neighbour with its continuation.
    neighbour_content: what of [N, F] the model reads: both, the neighbour N alone (its first m tokens), or
    the continuation F alone.
    num_neighbours: k in training. evaluation_neighbours: k in evaluation and generation, None for the same;
    `k_evaluation` is the number that results.
    cca_initialisation: published (like every other matrix), or copying (ours: models/retro/copying.py).

    Raises InputError for a switch value or a layer that does not exist.
    """

    decoder: GopherConfig | PaLMConfig
    cca_layers: tuple[int, ...]
    encoder_layers: int = 2
    encoder_d_model: int = 896
    encoder_d_ff: int = 3584
    encoder_num_heads: int = 16
    encoder_head_size: int = 64
    encoder_activation: str = "gelu"
    encoder_embedding: str = "own"
    encoder_conditioned: bool = True
    cca_positions: bool = True
    chunk: int = 64
    neighbour: int = 128
    neighbour_content: str = "both"
    num_neighbours: int = 2
    evaluation_neighbours: int | None = None
    cca_initialisation: str = "published"

    retrieves = True  # no field: without an annotation it is neither saved nor hashed

    def __post_init__(self):
        require_known(
            self, encoder_embedding=ENCODER_EMBEDDINGS, neighbour_content=NEIGHBOUR_CONTENTS,
            cca_initialisation=CCA_INITIALISATIONS, encoder_activation=ACTIVATIONS,
        )  # fmt: skip
        layers = self.cca_layers
        if not layers or list(layers) != sorted(set(layers) & set(range(1, self.decoder.num_layers + 1))):
            raise InputError(
                f"RETROConfig.cca_layers is {layers}; give rising layer numbers from 1 to "
                f"{self.decoder.num_layers}, at least one."
            )

    @property
    def vocab_size(self) -> int:
        return self.decoder.vocab_size

    @property
    def max_length(self) -> int:
        return self.decoder.max_length

    @property
    def content(self) -> slice:
        """Which of a neighbour's r tokens are read. The first of them is position 0 of all distances: F alone
        stands at 0 … 63, where [N, F] has it at 64 … 127. Projections that are learned do not mind; the
        copying start, and what is said of `cca_positions`, see other distances there.
        """
        return {
            "both": slice(0, self.neighbour),
            "neighbour": slice(0, self.chunk),
            "continuation": slice(self.chunk, self.neighbour),
        }[self.neighbour_content]

    @property
    def content_length(self) -> int:
        """How many of a neighbour's r tokens are read."""
        return self.content.stop - self.content.start

    @property
    def k_evaluation(self) -> int:
        """k in evaluation and generation."""
        return self.evaluation_neighbours or self.num_neighbours

    @property
    def most_neighbours(self) -> int:
        """k of the data that serves training and evaluation."""
        return max(self.num_neighbours, self.k_evaluation)


def copying(config: RETROConfig) -> RETROConfig:
    """The same model started able to copy from its neighbours: ours, not the paper's."""
    return dataclasses.replace(config, cca_initialisation="copying", encoder_embedding="shared")


def _published(num_layers: int, num_heads: int, head_size: int, d_model: int) -> RETROConfig:
    decoder = GopherConfig(num_layers, num_heads, head_size, d_model, d_ff=4 * d_model, vocab_size=128_000)
    return RETROConfig(decoder, cca_layers=tuple(range(6, num_layers + 1, 3)))


def of_rung(rung: Rung) -> RETROConfig:
    """The dense Gopher of the rung, with an encoder as wide as the decoder, but not wider than the published
    896, and the published layers of cross-attention.
    """
    width = min(896, rung.d_model)
    return RETROConfig(
        gopher_of_rung(rung), tuple(range(6, rung.num_layers + 1, 3)),
        encoder_d_model=width, encoder_d_ff=4 * width, encoder_num_heads=width // HEAD_SIZE,
        encoder_head_size=HEAD_SIZE,
    )  # fmt: skip


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
SIZES |= {name: of_rung(rung) for name, rung in RUNGS.items()}
# Each once more as the form that starts out copying, such as 172m-copying; the published ones stay first.
SIZES |= {f"{size}-copying": copying(config) for size, config in SIZES.items()}
