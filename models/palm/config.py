"""PaLM's configuration and published sizes (arXiv 2204.02311, section 2 and table 1)."""

from dataclasses import dataclass

from models.decoder import REMATERIALISATION
from models.ladder import HEAD_SIZE, RUNGS, Rung
from models.layers.attention import KEY_VALUE_HEADS, POSITIONS
from models.layers.norms import NORMS
from models.switches import Dense, require_known

BLOCKS = ("parallel", "serial")
FEED_FORWARDS = ("swiglu", "gelu", "relu")
EMBEDDINGS = ("tied", "untied")


@dataclass(frozen=True)
class PaLMConfig(Dense):
    """Fields as in table 1. Every published size has head_size 256, d_ff = 4 · d_model and 256,000 tokens.

    The switches are what section 2 chooses between; the defaults are the published form.
    block: parallel, y = x + MLP(norm(x)) + Attention(norm(x)); or serial, y = x + MLP(norm(x +
    Attention(norm(x)))).
    attention: multi_query or multi_head.
    feed_forward: swiglu has three matrices of width d_ff, gelu and relu two; at 3/2 of its d_ff they have as
    many parameters.
    positions: rope; learned, a table of max_length rows; or relative (Transformer-XL's, as in Gopher).
    embeddings: tied, one matrix looks tokens up and scores them; untied, a second one scores.
    norm: the text says LayerNorm without bias, Google's layer library for this block uses the RMS form;
    default rms.
    max_length, remat, vocab_multiple: see Dense.

    Raises InputError for a switch value that does not exist.
    """

    num_layers: int
    num_heads: int
    d_model: int
    d_ff: int
    head_size: int = 256
    vocab_size: int = 256_000
    block: str = "parallel"
    attention: str = "multi_query"
    feed_forward: str = "swiglu"
    positions: str = "rope"
    norm: str = "rms"
    embeddings: str = "tied"
    max_length: int = 2048
    remat: str = "none"
    vocab_multiple: int = 1

    def __post_init__(self):
        require_known(
            self, block=BLOCKS, attention=KEY_VALUE_HEADS, feed_forward=FEED_FORWARDS, positions=POSITIONS,
            norm=NORMS, embeddings=EMBEDDINGS, remat=REMATERIALISATION,
        )  # fmt: skip


def of_rung(rung: Rung) -> PaLMConfig:
    """The published block, with d_ff such that it has the parameters of Gopher's of that rung: 13 · d_model²,
    of which 2 · d_model² are queries and outputs and 2 · d_model · head_size the one key and value.
    """
    d_ff = 8 * round((11 * rung.d_model - 2 * HEAD_SIZE) / 3 / 8)
    return PaLMConfig(
        rung.num_layers, rung.num_heads, rung.d_model, d_ff, HEAD_SIZE, vocab_size=rung.vocab_size
    )


SIZES = {
    "8b": PaLMConfig(num_layers=32, num_heads=16, d_model=4096, d_ff=16384),
    "62b": PaLMConfig(num_layers=64, num_heads=32, d_model=8192, d_ff=32768),
    "540b": PaLMConfig(num_layers=118, num_heads=48, d_model=18432, d_ff=73728),
    # d_ff is what gives a block 13 · d_model² parameters, as many as gopher/tiny's: the comparison is at
    # equal size.
    "tiny": PaLMConfig(num_layers=4, num_heads=2, d_model=128, d_ff=424, head_size=64, vocab_size=4096),
    "smoke": PaLMConfig(num_layers=2, num_heads=2, d_model=32, d_ff=112, head_size=16, vocab_size=1024),
}
SIZES |= {name: of_rung(rung) for name, rung in RUNGS.items()}
