"""The WordPiece tokenizer that a BERT checkpoint brings."""

from collections.abc import Callable
from pathlib import Path

from tokenizers import BertWordPieceTokenizer, Tokenizer

from errors import InputError
from models.bert.weights import read_json

TOKENIZER, VOCABULARY = "tokenizer.json", "vocab.txt"


def read_tokenizer(folder: Path) -> Tokenizer | BertWordPieceTokenizer:
    """The wordpieces of a checkpoint: tokenizer.json, or vocab.txt in tokenizer_config.json's manner."""
    if (folder / TOKENIZER).is_file():
        return Tokenizer.from_file(str(folder / TOKENIZER))
    if not (folder / VOCABULARY).is_file():
        raise InputError(
            f"The BERT checkpoint {folder} has neither {TOKENIZER} nor {VOCABULARY}: what are its wordpieces?"
        )
    manner_path = folder / "tokenizer_config.json"
    manner = read_json(manner_path) if manner_path.is_file() else {}
    return BertWordPieceTokenizer(
        str(folder / VOCABULARY),
        lowercase=manner.get("do_lower_case", True),
        strip_accents=manner.get("strip_accents"),
        handle_chinese_chars=manner.get("tokenize_chinese_chars", True),
    )


def wordpiece_encoder(
    tokenizer: Tokenizer | BertWordPieceTokenizer,
) -> Callable[[list[str], int], list[list[int]]]:
    """encode(texts, max_length) of a Bert record: ids with [CLS] and [SEP], truncated to max_length, never
    padded."""
    tokenizer.no_padding()

    def encode(texts: list[str], max_length: int) -> list[list[int]]:
        tokenizer.enable_truncation(max_length=max_length)
        return [encoding.ids for encoding in tokenizer.encode_batch(texts)]

    return encode
