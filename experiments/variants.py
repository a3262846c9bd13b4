"""The rows of the ablation tables: one changed field each against a family's published form, and what the
paper says of it.

`expects` is the sign of row − reference in bits per byte: "worse" is positive. A difference of the paper's
within 0.002 bits per byte counts as equal.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.families import configuration
from models.retro.config import RETROConfig

REFERENCE = {"palm": "published", "gopher": "published", "retro": "copying"}
LONGER = (2, 4)  # times the training length
NEIGHBOURS = (1, 3, 4, 5, 7, 10)  # at evaluation; 2 is the reference and 0 is retrieval off
SHARES = (0.01, 0.03, 0.1, 0.3)  # of the database; 1 is the reference
NPROBES = (1, 4, 16)
MOST_NEIGHBOURS = max(NEIGHBOURS)


@dataclass(frozen=True)
class Paper:
    """figure: as printed. expects: worse, better, equal, or None where it makes no claim."""

    figure: str
    expects: str | None
    source: str


@dataclass(frozen=True)
class Read:
    """How the cells of the row `of` are read once more: retrieval off; k neighbours; a share of the database;
    an approximate index at nprobe; random neighbours; sequences `longer` times as long; as they were after
    `step` steps, one of those that they were evaluated at.
    """

    of: str
    off: bool = False
    k: int | None = None
    share: float | None = None
    nprobe: int | None = None
    random: bool = False
    longer: int | None = None
    step: int | None = None


@dataclass(frozen=True)
class Variant:
    """One row. change: what is changed, as shown.

    A row is trained: `config` by `training`, fields of experiments.cells.Cell other than the family's own,
    on neighbours found by `keys`; its peak learning rate is the best of `peaks` where there are several. It
    may start from the dense cells of the row `retrofit_of`. Or it is a reading of another row's cells.
    facts: further numbers that curves are drawn over.
    """

    name: str
    group: str
    against: str | None
    change: Mapping[str, Any] = field(default_factory=dict)
    paper: Paper | None = None
    note: str = ""
    config: Any = None
    training: Mapping[str, Any] = field(default_factory=dict)
    keys: str = "bert"
    peaks: tuple[float, ...] = ()
    retrofit_of: str | None = None
    read: Read | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def variants(family: str, size: str) -> list[Variant]:
    """All rows of the table of `family` at `size`, the reference first."""
    return {"palm": palm, "gopher": gopher, "retro": retro}[family](configuration(f"{family}/{size}"))


def changed(name: str, group: str, config: Any, against: str, paper: Paper | None, note: str = "", **fields):
    """The row that trains `config` with other `fields`."""
    return Variant(name, group, against, fields, paper, note, dataclasses.replace(config, **fields))


def palm(config: Any) -> list[Variant]:
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
        Variant("published", "Published form", None, config=config),
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
        *lengths("published", "learned positions", "relative positions"),
        row("LayerNorm", "Norm", norm="layer", note="the paper's text; the RMS form is of Google's own code"),
        row("untied embeddings", "Embeddings", embeddings="untied"),
        Variant(
            "no z-loss", "Recipe", "published", {"z_loss": 0.0},
            Paper("increases stability", None, "PaLM, section 5"), config=config, training={"z_loss": 0.0},
        ),
        Variant(
            "Adam instead of Adafactor", "Recipe", "published", {"recipe": "gopher"},
            Paper("Adafactor was worse and less stable", "better", "Gopher, of its own block"),
            "with its own warm-up and cosine, as Gopher's", config, {"recipe": "gopher"},
            peaks=(3e-3, 6e-3, 1.2e-2, 2.4e-2),
        ),
    ]  # fmt: skip


def gopher(config: Any) -> list[Variant]:
    def row(name, group, paper=None, **fields):
        return changed(name, group, config, "published", paper, **fields)

    def recipe(name, group, paper, **training):
        return Variant(name, group, "published", training, paper, config=config, training=training)

    appendix = "Gopher, appendix C"
    nearest, stochastic = "bfloat16, rounded to the nearest", "bfloat16, stochastic rounding"
    return [
        Variant("published", "Published form", None, config=config),
        row("LayerNorm", "Norm", norm="layer"),
        row("learned positions", "Positions", positions="learned"),
        *lengths("published", "learned positions"),
        row("ReLU", "Feed-forward", activation="relu"),
        recipe(
            "AdamW", "Recipe", Paper("better than Adam", "better", "Chinchilla, appendix G"), recipe="retro"
        ),
        Variant(
            "Adafactor instead of Adam", "Recipe", "published", {"recipe": "palm"},
            Paper("Adafactor was worse and less stable", "worse", "Gopher"), "with PaLM's schedule", config,
            {"recipe": "palm"}, peaks=(1.5e-2, 3e-2, 6e-2, 1.2e-1),
        ),
        recipe(
            "bfloat16 activations", "Precision",
            Paper("used below 7.1B, float32 parameters", "equal", appendix), precision="mixed",
        ),
        recipe(
            stochastic, "Precision", Paper("does not fully recover mixed precision", "worse", appendix),
            precision="bfloat16_stochastic_rounding",
        ),
        recipe(nearest, "Precision", None, precision="bfloat16"),
        Variant(
            "rounding to the nearest against stochastic", "Precision", stochastic, {"precision": "bfloat16"},
            Paper("bfloat16 parameters are rounded stochastically", "worse", appendix), read=Read(nearest),
        ),
    ]  # fmt: skip


def lengths(*forms: str) -> list[Variant]:
    """Every form read at longer sequences than it was trained on, against itself at the training length; and
    the others against the first, the published form, read alike.
    """
    claim = "evaluated beyond the training length, as relative positions can be"
    rows = []
    for times in LONGER:
        group = f"Beyond the training length: {times} times as long"
        at = f", {times}x length"

        def row(form, name, against, paper=None, times=times, group=group):
            note = "the last position's row is repeated" if form.startswith("learned") else ""
            return Variant(
                name, group, against, {"length": f"x{times}"}, paper, note, read=Read(form, longer=times)
            )

        rows += [row(form, form + at, form) for form in forms]
        rows += [
            row(
                form, f"{form} against {forms[0]}{at}", forms[0] + at,
                Paper(claim, "worse", "Gopher, section 2.1") if form.startswith("learned") else None,
            )
            for form in forms[1:]
        ]  # fmt: skip
    return rows


def retro(published: RETROConfig) -> list[Variant]:
    """Table 6 of RETRO around the copying initialisation, which reads its neighbours at any budget."""
    base = dataclasses.replace(published, cca_initialisation="copying", encoder_embedding="shared")
    depth = published.decoder.num_layers
    middle = published.cca_layers[0]

    def c4(figure, expects):
        return Paper(f"{figure} against .822", expects, "RETRO, table 6, C4")

    def row(name, group, figure, expects, note="", **fields):
        return changed(name, group, base, "copying", c4(figure, expects), note, **fields)

    def reading(name, group, paper=None, note="", against="copying", of="copying", **how):
        return Variant(name, group, against, how, paper, note, read=Read(of, **how))

    def cca(name, layers, figure, expects):
        return row(name, "Cross-attention", figure, expects, cca_layers=layers)

    # Training at k neighbours and evaluation at the reference's 2.
    two = {"evaluation_neighbours": published.num_neighbours}
    return [
        Variant(
            "copying", "Reference", None, {"cca_initialisation": "copying", "encoder_embedding": "shared"},
            note="the published architecture with a shared embedding, started able to copy (ours)",
            config=base,
        ),
        reading("retrieval off", "Retrieval", c4(".987", "worse"), off=True),
        Variant(
            "dense", "Retrieval", "copying", {"decoder": "alone"},
            Paper(".98 against .82", "worse", "RETRO, table 14, C4 at 172M"),
            "the decoder, by RETRO's recipe", base.decoder, {"recipe": "retro"},
        ),
        row("N only", "What of a neighbour is read", ".950", "worse", neighbour_content="neighbour"),
        row("F only", "What of a neighbour is read", ".895", "worse", neighbour_content="continuation"),
        row("no query conditioning", "Encoder", ".829", "worse", encoder_conditioned=False),
        row("6-layer encoder", "Encoder", ".821, 20 % more time", "equal", encoder_layers=6),
        row("no CCA positions", "Cross-attention", ".826", "worse", cca_positions=False),
        cca("CCA at the first layer", (1,), ".827", "worse"),
        cca("CCA in the middle", (middle,), ".823", "equal"),
        cca("CCA at the last layer", (depth,), ".831", "worse"),
        cca("CCA at all layers", tuple(range(1, depth + 1)), ".860", "worse"),
        cca("CCA at every third layer from 1", tuple(range(1, depth + 1, 3)), ".823", "equal"),
        row("1 neighbour in training", "Neighbours in training", ".858", "worse", num_neighbours=1, **two),
        row("4 neighbours in training", "Neighbours in training", ".847", "worse", num_neighbours=4, **two),
        *(
            reading(f"k = {k}", "Neighbours at evaluation", {
                1: Paper(".84 against .83", "worse", "RETRO, figure 4, C4 at 172M"),
                3: Paper(".82 against .83", "better", "RETRO, figure 4, C4 at 172M"),
            }.get(k), k=k)
            for k in NEIGHBOURS
        ),
        *(
            reading(
                f"{share:.0%} of the database", "Database",
                Paper(".97 at 4B tokens, .82 at 1.75T", "worse", "RETRO, figure 1, C4 at 172M"),
                "at evaluation", share=share,
            )
            for share in SHARES
        ),
        *(
            reading(f"approximate index, nprobe {nprobe}", "Index", None, nprobe=nprobe) for nprobe in NPROBES
        ),
        reading("random neighbours at evaluation", "Keys", random=True),
        Variant(
            "random neighbours", "Keys", "copying", {"keys": "random"},
            note="in training and evaluation", config=base, keys="random",
        ),
        Variant(
            "BM25 keys", "Keys", "copying", {"keys": "bm25"},
            Paper("re-ranking by BM25 helps", "better", "2305.16243"), "in training and evaluation", base,
            keys="bm25",
        ),
        Variant(
            "published initialisation", "Initialisation", "copying",
            {"cca_initialisation": "published", "encoder_embedding": "own"}, config=published,
        ),
        Variant(
            "published initialisation, shared embedding", "Initialisation", "published initialisation",
            {"encoder_embedding": "shared"}, c4(".823", "equal"),
            config=dataclasses.replace(published, encoder_embedding="shared"),
        ),
        Variant(
            "RETROfit", "RETROfit", "dense", {"retrofit_of": "dense"},
            Paper("better than the dense model", "better", "RETRO, section 4.2"),
            "the dense model frozen, as many tokens again for encoder and CCA", base, retrofit_of="dense",
        ),
        reading(
            "RETROfit against training from scratch", "RETROfit",
            Paper("close to RETRO trained from scratch", "equal", "RETRO, section 4.2"), of="RETROfit",
        ),
    ]  # fmt: skip
