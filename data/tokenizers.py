"""SentencePiece in the two published manners.

PaLM (Section 2): a "lossless" vocabulary. All whitespace is kept, unknown characters become UTF-8 bytes,
every digit is a token of its own, nothing is normalised: decode(encode(s)) == s for every Unicode string s.

Gopher (Section 3.1): byte fallback, NFKC normalisation. Whitespace is kept here too, code being unreadable
without it, but NFKC turns exotic spaces into plain ones: decode(encode(text)) is the text's NFKC form.

Neither paper names SentencePiece's model type; it is SentencePiece's default, the unigram language model.
"""

import functools
import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

from errors import InputError
from storage.files import file_hash, write_atomic

STYLES = {
    "palm": {"normalization_rule_name": "identity", "split_digits": True},
    "gopher": {"normalization_rule_name": "nfkc", "split_digits": False},
}

# Inside SentencePiece this character stands for the space, so that a real one would come back as a space.
SPACE_MARK = "\u2581"

SAMPLE_CHARACTERS = 2000
TRAINING_CHARACTERS_PER_PIECE = 512


def train_tokenizer(
    texts: Sequence[str],
    *,
    style: str,
    vocab_size: int,
    path: Path,
    at_most: bool = False,
) -> None:
    """Trains a tokenizer on an even sample of `texts` and writes its model file to `path`.

    The sample grows with the vocabulary (512 characters per entry); the same texts give the same file.

    Args:
        at_most: whether a text too short for `vocab_size` pieces gets a smaller vocabulary.

    Raises:
        InputError: the texts are empty, or do not allow a vocabulary of that size.
    """
    # A space that is too rare for SentencePiece to keep must be asked for. Where it is kept anyway, asking
    # would change the model's file, which records what is given, and with it the names of stored tokens.
    asked_for = [{"required_chars": SPACE_MARK}]
    for more in [{}, *asked_for] if any(" " in text for text in texts) else asked_for:
        try:
            model = _trained(_sample(texts, vocab_size), style, vocab_size, at_most, more)
        except RuntimeError as error:
            if more or "required_chars" not in str(error):
                raise _explained(error, vocab_size) from error
        else:
            pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
            if pieces.piece_to_id(SPACE_MARK) != pieces.unk_id():
                break
    write_atomic(path, model)


def _trained(
    sentences: Iterator[str], style: str, vocab_size: int, at_most: bool, more: Mapping[str, Any]
) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences,
        model_writer=model,
        model_type="unigram",
        vocab_size=vocab_size,
        byte_fallback=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        max_sentence_length=4 * SAMPLE_CHARACTERS,
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        num_threads=4,  # a constant: the sums of floats, and so the pieces, depend on it
        minloglevel=2,
        **STYLES[style],
        # Only where it differs from the default: the model file records what is given.
        **({"hard_vocab_limit": False} if at_most else {}),
        **more,
    )
    return model.getvalue()


class Tokenizer:
    """A trained tokenizer.

    Attributes:
        path: the model file.
        vocab_size: number of ids; pad_id (0), unk_id, bos_id and eos_id are among them. A model of one's own
            may have no pad_id: it is -1 then.
        has_bytes: whether a character without a piece of its own becomes the bytes of its UTF-8 form; else it
            becomes unk_id, which decodes to nothing.
        hash: 16 hex digits of the SHA-256 of the model file.
        num_bytes: int64 [vocab_size], UTF-8 bytes of each id's text: 1 for a byte piece, which may be part
            of a character, 0 for special ids. Over the ids of a text they sum to the bytes of what these
            decode to.

    Raises:
        InputError: the model file is missing or damaged, or has no id for the begin or the end of a text.
    """

    def __init__(self, path: Path):
        try:
            self._pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"{path} is not a readable SentencePiece model ({error}). Remove it and run the command "
                "again."
            ) from error
        self.path = Path(path)
        self.hash = file_hash(path)[:16]
        self.vocab_size = self._pieces.vocab_size()
        self.pad_id = self._pieces.pad_id()
        self.unk_id = self._pieces.unk_id()
        self.bos_id = self._pieces.bos_id()
        self.eos_id = self._pieces.eos_id()
        self._special = {self.pad_id, self.unk_id, self.bos_id, self.eos_id}
        if missing := [name for name, i in (("bos_id", self.bos_id), ("eos_id", self.eos_id)) if i < 0]:
            raise InputError(
                f"The SentencePiece model {path} has no {' and no '.join(missing)}, and every document is to "
                "stand between both. Give a model that was trained with them (SentencePiece's default is "
                "bos_id=1, eos_id=2), or --tokenizer palm, which trains one on the text."
            )
        self.has_bytes = self._pieces.is_byte(self._pieces.piece_to_id("<0x00>"))
        # What the pieces cannot say: a real U+2581 and, where the model knows no space, that.
        unsaid = [SPACE_MARK]
        if self.has_bytes and self._pieces.piece_to_id(SPACE_MARK) == self.unk_id:
            unsaid.append(" ")
        self._unsaid = {character: self._ids_of_bytes(character) for character in unsaid}

    def _ids_of_bytes(self, character: str) -> list[int]:
        if not self.has_bytes:
            return [self.unk_id]
        return [self._pieces.piece_to_id(f"<0x{byte:02X}>") for byte in character.encode()]

    @functools.cached_property
    def num_bytes(self) -> np.ndarray:
        return np.array([self._num_bytes_of(i) for i in range(self.vocab_size)], np.int64)

    def _num_bytes_of(self, i: int) -> int:
        if i in self._special:
            return 0
        if self._pieces.is_byte(i):
            return 1
        return len(self._pieces.id_to_piece(i).replace(SPACE_MARK, " ").encode())

    def encode(self, text: str) -> np.ndarray:
        """int32 [tokens], without bos and eos.

        Raises:
            InputError: the text holds a lone surrogate, which is no character and has no UTF-8 form.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"Character {error.start} of the text is the lone surrogate {ascii(text[error.start])}, "
                "which has no UTF-8 form. Remove it, or decode the text again from its bytes."
            ) from error
        ids: list[int] = []
        for part in re.split(f"([{''.join(self._unsaid)}])", text):
            ids += self._unsaid[part] if part in self._unsaid else self._pieces.encode(part)
        return np.array(ids, np.int32)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of `ids` [tokens]; special ids are skipped, bytes that are not UTF-8 become U+FFFD."""
        return self._pieces.decode([int(i) for i in ids if int(i) not in self._special])


def _sample(texts: Sequence[str], vocab_size: int) -> Iterator[str]:
    """Every n-th stretch of the texts, with n such that there is enough for a vocabulary of that size."""
    stretches = (
        text[start : start + SAMPLE_CHARACTERS]
        for text in texts
        for start in range(0, len(text), SAMPLE_CHARACTERS)
    )
    needed = vocab_size * TRAINING_CHARACTERS_PER_PIECE
    stride = max(1, sum(map(len, texts)) // needed)
    return itertools.islice(stretches, 0, None, stride)


def _explained(error: RuntimeError, vocab_size: int) -> Exception:
    """The InputError that SentencePiece's message means; the error itself where it is not the user's."""
    if largest := re.search(r"size too high .*<= (\d+)", str(error)):
        return InputError(
            f"A vocabulary of {vocab_size:,} is larger than the text allows: at most {int(largest[1]):,} "
            "pieces can be learnt from it. Give a smaller --vocab-size or more text."
        )
    if smallest := re.search(r"smaller than required_chars. \d+ vs (\d+)", str(error)):
        return InputError(
            f"A vocabulary of {vocab_size:,} has no room for the 256 bytes and the characters of the text. "
            f"Give at least {int(smallest[1]):,}."
        )
    if "sentences_.empty()" in str(error):
        return InputError("The tokenizer was given no text to learn from. Give a corpus that holds some.")
    return error
