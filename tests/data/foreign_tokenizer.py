"""SentencePiece models that were trained elsewhere, in another manner than this project's."""

from pathlib import Path

import sentencepiece


def foreign_model(path: Path, text: str, vocab_size: int, **options) -> Path:
    """A model file with SentencePiece's defaults (no padding, unknown characters dropped) but for `options`."""
    with open(path, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([text]), model_writer=file, vocab_size=vocab_size, minloglevel=2,
            **{"hard_vocab_limit": False, **options},
        )  # fmt: skip
    return path
