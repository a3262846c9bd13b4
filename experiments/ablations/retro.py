"""The rows of RETRO's ablation table."""

import dataclasses

from models.retro.config import RETROConfig, copying
from studies.rows import NEIGHBOURS, Paper, Reevaluation, Row, changed

SHARES = (0.01, 0.03, 0.1, 0.3)  # of the database; 1 is the reference
NPROBES = (1, 4, 16)


def retro(published: RETROConfig) -> list[Row]:
    """Table 6 of RETRO around the copying initialisation, which reads its neighbours at any budget."""
    base = copying(published)
    return [
        *_reference(base), *_architecture(base), *_neighbours(base), *_retrieved(base),
        *_starts(base, published),
    ]  # fmt: skip


def _c4(figure, expects):
    return Paper(f"{figure} against .822", expects, "RETRO, table 6, C4")


def _row(base, name, group, figure, expects, note="", **fields):
    return changed(name, group, base, "copying", _c4(figure, expects), note, **fields)


def _cca(base, name, layers, figure, expects):
    return _row(base, name, "Cross-attention", figure, expects, cca_layers=layers)


def _evaluation(name, group, paper=None, note="", against="copying", of="copying", interaction=None, **how):
    again = Reevaluation(of, **how)
    return Row(name, group, against, how, paper, note, reevaluation=again, interaction=interaction)


def _reference(base: RETROConfig) -> list[Row]:
    """With retrieval, without, and the dense model."""
    return [
        Row(
            "copying", "Reference", None, {"cca_initialisation": "copying", "encoder_embedding": "shared"},
            note="the published architecture with a shared embedding, started able to copy (ours)",
            config=base,
        ),
        _evaluation("retrieval off", "Retrieval", _c4(".987", "worse"), off=True),
        _evaluation("overlapping windows", "Windows at evaluation", overlapping=True),
        _evaluation(
            "retrieval off, overlapping windows", "Windows at evaluation", against="overlapping windows",
            interaction="retrieval off", off=True, overlapping=True,
        ),
        Row(
            "neighbours across documents", "Windows in training", "copying",
            {"neighbours_across_documents": True}, config=base,
            training={"neighbours_across_documents": True},
            note="a document's first chunk reads the neighbours of the chunk of another before it in the row",
        ),
        Row(
            "dense", "Retrieval", "copying", {"decoder": "alone"},
            Paper(".98 against .82", "worse", "RETRO, table 14, C4 at 172M"),
            "the decoder, by RETRO's recipe", base.decoder, {"recipe": "retro"},
        ),
    ]  # fmt: skip


def _architecture(base: RETROConfig) -> list[Row]:
    """What is read of a neighbour, by which encoder, and where cross-attention stands."""
    depth, middle = base.decoder.num_layers, base.cca_layers[0]
    content = "What of a neighbour is read"
    return [
        _row(base, "N only", content, ".950", "worse", neighbour_content="neighbour"),
        _row(base, "F only", content, ".895", "worse", neighbour_content="continuation"),
        _row(base, "no query conditioning", "Encoder", ".829", "worse", encoder_conditioned=False),
        _row(base, "6-layer encoder", "Encoder", ".821, 20 % more time", "equal", encoder_layers=6),
        _row(base, "no CCA positions", "Cross-attention", ".826", "worse", cca_positions=False),
        _cca(base, "CCA at the first layer", (1,), ".827", "worse"),
        _cca(base, "CCA in the middle", (middle,), ".823", "equal"),
        _cca(base, "CCA at the last layer", (depth,), ".831", "worse"),
        _cca(base, "CCA at all layers", tuple(range(1, depth + 1)), ".860", "worse"),
        _cca(base, "CCA at every third layer from 1", tuple(range(1, depth + 1, 3)), ".823", "equal"),
    ]  # fmt: skip


def _neighbours(base: RETROConfig) -> list[Row]:
    """Their number in training, where evaluation stays at the reference's 2, and at evaluation."""
    two, training = {"evaluation_neighbours": base.num_neighbours}, "Neighbours in training"
    return [
        _row(base, "1 neighbour in training", training, ".858", "worse", num_neighbours=1, **two),
        _row(base, "4 neighbours in training", training, ".847", "worse", num_neighbours=4, **two),
        *(
            _evaluation(f"k = {k}", "Neighbours at evaluation", {
                1: Paper(".84 against .83", "worse", "RETRO, figure 4, C4 at 172M"),
                3: Paper(".82 against .83", "better", "RETRO, figure 4, C4 at 172M"),
            }.get(k), k=k)
            for k in NEIGHBOURS
        ),
    ]  # fmt: skip


def _retrieved(base: RETROConfig) -> list[Row]:
    """What is retrieved from, how exactly, and by which keys."""
    return [
        *(
            _evaluation(
                f"{share:.0%} of the database", "Database",
                Paper(".97 at 4B tokens, .82 at 1.75T", "worse", "RETRO, figure 1, C4 at 172M"),
                "at evaluation", share=share,
            )
            for share in SHARES
        ),
        *(
            _evaluation(f"approximate index, nprobe {nprobe}", "Index", None, nprobe=nprobe)
            for nprobe in NPROBES
        ),
        _evaluation("random neighbours at evaluation", "Keys", random=True),
        Row(
            "random neighbours", "Keys", "copying", {"keys": "random"},
            note="in training and evaluation", config=base, keys="random",
        ),
        Row(
            "BM25 keys", "Keys", "copying", {"keys": "bm25"},
            Paper("re-ranking by BM25 helps", "better", "2305.16243"), "in training and evaluation", base,
            keys="bm25",
        ),
    ]  # fmt: skip


def _starts(base: RETROConfig, published: RETROConfig) -> list[Row]:
    """What training starts from."""
    return [
        Row(
            "published initialisation", "Initialisation", "copying",
            {"cca_initialisation": "published", "encoder_embedding": "own"}, config=published,
        ),
        Row(
            "published initialisation, shared embedding", "Initialisation", "published initialisation",
            {"encoder_embedding": "shared"}, _c4(".823", "equal"),
            config=dataclasses.replace(published, encoder_embedding="shared"),
        ),
        Row(
            "RETROfit", "RETROfit", "dense", {"retrofit_of": "dense"},
            Paper("better than the dense model", "better", "RETRO, section 4.2"),
            "the dense model frozen, as many tokens again for encoder and CCA", base, retrofit_of="dense",
        ),
        _evaluation(
            "RETROfit against training from scratch", "RETROfit",
            Paper("close to RETRO trained from scratch", "equal", "RETRO, section 4.2"), of="RETROfit",
        ),
    ]  # fmt: skip
