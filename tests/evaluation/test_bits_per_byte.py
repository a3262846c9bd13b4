"""Losses per document and the unigram reference against sums written out."""

import math
from pathlib import Path

import numpy as np
import pytest

from data.documents import Document
from data.token_store import TokenStore, write_token_store
from evaluation.bits_per_byte import bits_per_byte, document_nats, unigram_nats


class Letters:
    """One id per letter a … h after four special ones."""

    pad_id, unk_id, bos_id, eos_id = range(4)
    vocab_size = 12

    def encode(self, text):
        return np.array([4 + "abcdefgh".index(letter) for letter in text], np.int32)


def store_of(folder: Path, texts, is_validation):
    documents = [Document(text, str(i), "docs", str(i)) for i, text in enumerate(texts)]
    write_token_store(folder, documents, Letters(), np.arange(len(texts)), np.array(is_validation))
    return TokenStore(folder)


def test_document_nats_sums_by_document_and_leaves_padding_out():
    nats = np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]], np.float32)
    documents = np.array([[0, 0, 2], [2, -1, -1]])
    np.testing.assert_array_equal(document_nats(nats, documents, 4), [3, 0, 12, 0])


def test_bits_per_byte():
    assert bits_per_byte(np.array([math.log(2) * 3, math.log(2)]), np.array([1, 3])) == pytest.approx(1.0)


def test_unigram_by_hand(tmp_path):
    store = store_of(tmp_path, ["aab", "ab"], [False, True])
    # Training predicts a, a, b, eos: counts with add-one smoothing over 12 tokens sum to 16.
    p = {"a": 3 / 16, "b": 2 / 16, "eos": 2 / 16}
    expected = -math.log(p["a"]) - math.log(p["b"]) - math.log(p["eos"])
    np.testing.assert_allclose(unigram_nats(store, np.array([1])), [expected])
