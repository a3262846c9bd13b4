"""The WordPiece tokenizer that a BERT checkpoint brings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import BertWordPieceTokenizer, Tokenizer

from errors import InputError
from models.bert.weights import read_record
from storage.files import regular
from storage.json_files import check

TOKENIZER, VOCABULARY = "tokenizer.json", "vocab.txt"
MANNER = {"do_lower_case": bool, "strip_accents": (bool, None), "tokenize_chinese_chars": bool}
# Characters that few vocabularies have: one that has none needs a piece for what it does not know.
RARE = "\u2603\ua66e\U0001d11e"


def read_tokenizer(folder: Path) -> Tokenizer | BertWordPieceTokenizer:
    """The wordpieces of a checkpoint: tokenizer.json, or vocab.txt in tokenizer_config.json's manner.

    Raises:
        InputError: it has none, or what it has is damaged.
    """
    if (folder / TOKENIZER).exists():
        return _working(folder / TOKENIZER, Tokenizer.from_file)
    if not (folder / VOCABULARY).is_file():
        raise InputError(
            f"The BERT checkpoint {folder} has neither {TOKENIZER} nor {VOCABULARY}: what are its wordpieces?"
        )
    manner_path = folder / "tokenizer_config.json"
    manner = read_record(manner_path) if manner_path.exists() else {}
    try:
        check(manner, {name: form for name, form in MANNER.items() if name in manner})
    except ValueError as error:
        raise InputError(f"{manner_path}: {error}. Fetch the checkpoint again.") from error

    def open_vocabulary(path: str) -> BertWordPieceTokenizer:
        return BertWordPieceTokenizer(
            path,
            lowercase=manner.get("do_lower_case", True),
            strip_accents=manner.get("strip_accents"),
            handle_chinese_chars=manner.get("tokenize_chinese_chars", True),
        )

    return _working(folder / VOCABULARY, open_vocabulary)


def _working(path: Path, open_file: Callable[[str], Any]) -> Any:
    """What `open_file` makes of `path`, once it has encoded something."""
    try:
        tokenizer = open_file(str(regular(path)))
        tokenizer.encode(RARE)
    except Exception as error:  # tokenizers raises this very type
        raise InputError(
            f"{path} holds no wordpieces of a BERT ({error}). Fetch the checkpoint again; a vocab.txt needs "
            "[UNK], [CLS] and [SEP]."
        ) from error
    return tokenizer


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
