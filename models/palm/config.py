"""PaLM's configuration and published sizes (arXiv 2204.02311, section 2 and table 1)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PaLMConfig:
    """Fields as in table 1. Every published size has head_size 256, d_ff = 4 · d_model and 256,000 tokens.

    norm: the text says LayerNorm without bias, Google's layer library for this block uses the RMS form;
    default rms.
    remat: what the backward pass recomputes, a name in models.decoder.REMATERIALISATION.
    """

    num_layers: int
    num_heads: int
    d_model: int
    d_ff: int
    head_size: int = 256
    vocab_size: int = 256_000
    norm: str = "rms"
    remat: str = "none"


SIZES = {
    "8b": PaLMConfig(num_layers=32, num_heads=16, d_model=4096, d_ff=16384),
    "62b": PaLMConfig(num_layers=64, num_heads=32, d_model=8192, d_ff=32768),
    "540b": PaLMConfig(num_layers=118, num_heads=48, d_model=18432, d_ff=73728),
    # d_ff is what gives a block 13 · d_model² parameters, as many as gopher/tiny's: the comparison is at
    # equal size.
    "tiny": PaLMConfig(num_layers=4, num_heads=2, d_model=128, d_ff=424, head_size=64, vocab_size=4096),
    "smoke": PaLMConfig(num_layers=2, num_heads=2, d_model=32, d_ff=112, head_size=16, vocab_size=1024),
}
