"""Near duplicates, the split that they never straddle, and how much of a held-out text training text shares.

MassiveText (Gopher, Appendix A) and RETRO (Section 2) compare documents by the Jaccard similarity of their
sets of 13 successive words, with MinHash, and call them duplicates from 0.8 on. Candidates found by MinHash
are verified here on the sets themselves, so that the threshold is exact.

Shapes: D documents. A shingle is 13 successive words (a shorter document is one shingle of all its words);
words are runs of letters, digits and underscores in lower case.
"""

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from datasketch import MinHash, MinHashLSH
from scipy.cluster.hierarchy import DisjointSet

from data.documents import Document
from errors import InputError

SHINGLE_WORDS = 13
JACCARD_THRESHOLD = 0.8

NUM_PERMUTATIONS = 128
# 32 bands of 4: a pair at the threshold becomes a candidate with probability 1 - (1 - 0.8^4)^32 = 1 - 5e-8.
BANDS = (32, 4)

# A shingle's hash is the sum of its words' hashes times these odd numbers, modulo 2^64.
MULTIPLIERS = np.random.default_rng(0).integers(2**63, size=SHINGLE_WORDS, dtype=np.uint64) * 2 + 1


def duplicate_groups(documents: Sequence[Document]) -> np.ndarray:
    """int64 [D]: equal for documents that must fall on the same side of the split.

    Those are documents that declare the same group, are equal, or have a Jaccard similarity of at least 0.8,
    and whatever these relations link in turn. A group's id is the index of its first document.
    """
    sets = DisjointSet(range(len(documents)))
    first_with = {}
    for d, document in enumerate(documents):
        for key in (("group", document.group), ("text", document.text)):
            sets.merge(first_with.setdefault(key, d), d)
    distinct = [d for d, document in enumerate(documents) if first_with["text", document.text] == d]
    _merge_near_duplicates(sets, {d: _shingles(documents[d].text) for d in distinct})
    first = {}
    return np.array([first.setdefault(sets[d], d) for d in range(len(documents))], np.int64)


def _merge_near_duplicates(sets: DisjointSet, shingles: dict[int, np.ndarray]) -> None:
    index = MinHashLSH(num_perm=NUM_PERMUTATIONS, params=BANDS)
    for d, own in shingles.items():
        if not len(own):
            continue
        signature = MinHash(NUM_PERMUTATIONS, seed=1, hashfunc=int, scheme="affine64")
        signature.update_batch(own)
        for other in index.query(signature):
            if not sets.connected(d, other) and _jaccard(own, shingles[other]) >= JACCARD_THRESHOLD:
                sets.merge(d, other)
        index.insert(d, signature)


def split(documents: Sequence[Document], groups: np.ndarray, validation_fraction: float) -> np.ndarray:
    """bool [D], True for validation.

    A group is held out when the hash of its content lies below the fraction, so that it stays on its side
    whatever else the corpus holds. Only where all groups lie on one side, the nearest one moves to the other.

    Raises:
        InputError: the documents form fewer than two groups, so that one side would be empty.
    """
    smallest = {}
    for document, group in zip(documents, groups):
        content = hashlib.sha256(document.text.encode()).digest()
        smallest[group] = min(smallest.get(group, content), content)
    positions = {group: _unit_interval(content) for group, content in smallest.items()}
    if len(positions) < 2:
        raise InputError(
            f"The corpus cannot be split into training and validation: its {len(documents)} documents form "
            f"{len(positions)} group of near duplicates. Give a corpus of at least two different documents."
        )
    ordered = sorted(positions, key=positions.get)
    held_out = [group for group in ordered if positions[group] < validation_fraction]
    held_out = ordered[: min(max(len(held_out), 1), len(ordered) - 1)]
    return np.isin(groups, held_out)


def shared_ngram_fraction(documents: Sequence[Document], is_validation: np.ndarray) -> np.ndarray:
    """float64 [D]: the share of a validation document's shingles that occur anywhere in training documents.

    Every different shingle counts once; 0 for training documents.
    """
    shingles = [_shingles(document.text) for document in documents]
    sides = np.repeat(np.asarray(is_validation, bool), [len(own) for own in shingles])
    owners = np.repeat(np.arange(len(documents)), [len(own) for own in shingles])
    every = np.concatenate(shingles)
    shared = owners[sides][np.isin(every[sides], every[~sides])]
    counts = np.bincount(owners, minlength=len(documents))
    return np.bincount(shared, minlength=len(documents)) / np.maximum(counts, 1)


def _shingles(text: str) -> np.ndarray:
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


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


def _unit_interval(content: bytes) -> float:
    """A number in [0, 1). Hashed once more, for the smallest hash of many is no longer spread evenly."""
    return int.from_bytes(hashlib.sha256(content).digest()[:6], "little") / 2**48
