"""The rows of PaLM's ablation table."""

from typing import Any

from experiments.ablations.lengths import lengths
from studies.rows import Paper, Row, changed


def palm(config: Any) -> list[Row]:
    def row(name, group, paper=None, note="", **fields):
        return changed(name, group, config, "published", paper, note, **fields)

    glu = "GLU variants improve transformers (2002.05202, table 1), log-perplexity after 65k steps"
    wide = config.d_ff * 3 // 2
    equal_size = f"d_ff {wide} instead of {config.d_ff}: two matrices with as many parameters as three"
    # The further heads' keys and values come out of SwiGLU's three matrices, of which every head has a share.
    heads, size = config.num_heads, config.head_size
    narrow = config.d_ff - heads * round(2 * (heads - 1) * size / (3 * heads))
    neutral = Paper("multi-query is neutral", "equal", "PaLM, section 2")
    return [
        Row("published", "Published form", None, config=config),
        row(
            "serial block", "Block", block="serial",
            paper=Paper("parallel: small loss at 8B, none at 62B, 15 % faster", "better", "PaLM, section 2"),
        ),
        row(
            "multi-head attention", "Attention", neutral, "with more parameters", attention="multi_head"
        ),
        row(
            "multi-head attention at equal parameters", "Attention", neutral,
            f"d_ff {narrow} instead of {config.d_ff}", attention="multi_head", d_ff=narrow,
        ),
        row(
            "GELU", "Feed-forward", Paper("1.983 against SwiGLU's 1.944", "worse", glu), equal_size,
            feed_forward="gelu", d_ff=wide,
        ),
        row(
            "ReLU", "Feed-forward", Paper("1.997 against SwiGLU's 1.944", "worse", glu), equal_size,
            feed_forward="relu", d_ff=wide,
        ),
        row("learned positions", "Positions", positions="learned"),
        row("relative positions", "Positions", positions="relative"),
        *lengths("published", "learned positions", "relative positions", relative=False),
        row("LayerNorm", "Norm", norm="layer", note="the paper's text; the RMS form is of Google's own code"),
        row("untied embeddings", "Embeddings", embeddings="untied"),
        Row(
            "no z-loss", "Recipe", "published", {"z_loss": 0.0},
            Paper("increases stability", None, "PaLM, section 5"), config=config, training={"z_loss": 0.0},
        ),
        Row(
            "Adam instead of Adafactor", "Recipe", "published", {"recipe": "gopher"},
            Paper("Adafactor was worse and less stable", "better", "Gopher, of its own block"),
            "with its own warm-up and cosine, as Gopher's", config, {"recipe": "gopher"},
        ),
    ]  # fmt: skip
