"""Small stores made from words and a tiny random BERT: these tests need neither SentencePiece nor MiniLM."""

from pathlib import Path

import numpy as np
import pytest

from data.documents import Document
from data.token_store import TokenStore, write_token_store
from retrieval.keys.encoders import bert_encoder

WORDS = [f"{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]


class WordTokenizer:
    """One id per word; four special ids stand before them."""

    pad_id, unk_id, bos_id, eos_id = range(4)
    vocab_size = 4 + len(WORDS)
    hash = "words"

    def encode(self, text: str) -> np.ndarray:
        return np.array([4 + WORDS.index(word) for word in text.split()], np.int32)

    def decode(self, ids) -> str:
        return " ".join(WORDS[i - 4] for i in ids if i >= 4)


@pytest.fixture(scope="session")
def tokenizer() -> WordTokenizer:
    return WordTokenizer()


@pytest.fixture(scope="session")
def encoder():
    return bert_encoder(str(Path(__file__).parents[1] / "models/bert/tiny"))


@pytest.fixture(scope="session")
def make_store(tokenizer):
    """make_store(folder, lengths, groups, is_validation, seed): documents of `lengths` random words."""

    def make(folder: Path, lengths, groups=None, is_validation=None, seed: int = 0) -> TokenStore:
        rng = np.random.default_rng(seed)
        texts = [" ".join(rng.choice(WORDS, length)) for length in lengths]
        documents = [Document(text, f"document {d}", "code", f"document {d}") for d, text in enumerate(texts)]
        groups = np.arange(len(lengths)) if groups is None else np.asarray(groups)
        sides = np.zeros(len(lengths), bool) if is_validation is None else np.asarray(is_validation)
        write_token_store(folder, documents, tokenizer, groups, sides)
        return TokenStore(folder)

    return make
