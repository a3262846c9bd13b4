"""A stand-in for a trained tokenizer where only the ids' bookkeeping is under test."""

import numpy as np


class ByteTokenizer:
    """One token per UTF-8 byte, after the four special ids."""

    pad_id, unk_id, bos_id, eos_id = range(4)

    def __init__(self, vocab_size: int = 260):
        self.vocab_size = vocab_size

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32) + 4
