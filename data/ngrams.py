"""Word n-grams of documents, and how many of them also stand in the training text."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from data.documents import Document
from progress import bar

SHINGLE_WORDS = 13
# A shingle's hash is the sum of its words' hashes times these odd numbers, modulo 2^64.
MULTIPLIERS = np.random.default_rng(0).integers(2**63, size=SHINGLE_WORDS, dtype=np.uint64) * 2 + 1


def shared_ngram_fraction(documents: Sequence[Document], is_validation: np.ndarray) -> np.ndarray:
    """float64 [D]: the share of a validation document's shingles that occur anywhere in training documents.

    Every different shingle counts once; 0 for training documents.
    """
    shingles = shingles_of_all([document.text for document in documents], "words shared with training")
    sides = np.repeat(np.asarray(is_validation, bool), [len(own) for own in shingles])
    owners = np.repeat(np.arange(len(documents)), [len(own) for own in shingles])
    every = np.concatenate(shingles)
    shared = owners[sides][np.isin(every[sides], every[~sides])]
    counts = np.bincount(owners, minlength=len(documents))
    return np.bincount(shared, minlength=len(documents)) / np.maximum(counts, 1)


def shingles_of_all(texts: Sequence[str], label: str) -> list[np.ndarray]:
    """`shingles_of` each text, with a line of progress."""
    shingles = []
    with bar(label, len(texts), "document") as progress:
        for text in texts:
            shingles.append(shingles_of(text))
            progress.update()
    return shingles


def shingles_of(text: str) -> np.ndarray:
    """uint64 [shingles]: the sorted hashes of a text's different shingles."""
    words = re.findall(r"\w+", text.lower())
    if not words:
        return np.zeros(0, np.uint64)
    hashes = np.array([_word_hash(word) for word in words], np.uint64)
    width = min(SHINGLE_WORDS, len(words))
    windows = np.lib.stride_tricks.sliding_window_view(hashes, width)
    return np.unique(windows @ MULTIPLIERS[:width])


def _word_hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
