"""Texts -> keys by TF-IDF: chunks that share rare words are near, which on source code is what can be copied.

A chunk counts as a document: a word weighs (1 + log tf) · idf, idf = log((1 + n) / (1 + df)) + 1 over the
chunks it was fitted on. FAISS wants dense keys, so every word is given about 64 random signs in 768 places,
and a key is the weighted sum of its words' signs at unit length: a sparse random projection, under which
cosines stay what they are up to noise. Squared L2 between keys is 2 − 2 · cosine.

Measured on the 28,441 chunks of the standard library, neighbours from other documents, 600 queries (400 for
the sparse signs). Of the ten nearest by exact sparse TF-IDF a dense form has among its own ten

    width 384: signs everywhere 45 %, truncated SVD 36 %
    width 768: signs everywhere 59 %, 64 signs a word 58 %, 16 signs 54 %, 4 signs 47 %, 1 sign 28 %, SVD 46 %

and of the exact two nearest 84 % are among its ten (64 signs). SVD keeps what is frequent, and neighbours
share what is rare. Punctuation counts as words: with it the longest run of tokens that a chunk shares with
the better of its two exact neighbours is 11.1 tokens, without it 10.9; dense keys keep 11.0, where MiniLM's
have 9.2. With pairs of words it is 11.7, but made dense these keep 42 % of the ten. A core makes 24,000 keys
per second.

Shape suffixes: n texts, f hashed words, d dimension.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from errors import InputError
from storage.arrays import read_array
from storage.artifacts import fingerprint

PATTERN = r"(?u)\w+|[^\w\s]"  # identifiers and numbers whole, operators and punctuation one by one
WORDS, DIMENSION, SIGNS = 2**18, 768, 64
PARTS = ("data.npy", "indices.npy", "indptr.npy")
BLOCK = 1024  # texts


def fit_tfidf(texts: Iterable[str], folder: Path) -> None:
    """Writes what `open_tfidf` reads. The texts are read once and not kept; none at all is allowed."""
    # Scikit-learn takes longer to import than JAX, and most commands need none of it.
    from sklearn.exceptions import DataDimensionalityWarning
    from sklearn.random_projection import SparseRandomProjection

    n, df_f = 0, np.zeros(WORDS, np.int64)
    for counts_nf in word_counts(texts):
        n += counts_nf.shape[0]
        df_f += counts_nf.getnnz(axis=0)
    seen = np.flatnonzero(df_f)
    signs = SparseRandomProjection(DIMENSION, density=SIGNS / DIMENSION, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DataDimensionalityWarning
        )  # a small corpus has fewer words than places
        signs_fd = signs.fit(csr_matrix((1, max(1, len(seen))))).components_.T.tocsr()[: len(seen)]
    idf = np.log((1 + n) / (1 + df_f[seen])) + 1
    # A word that was not seen has no signs: its row is empty.
    signs_of_seen, per_word = np.diff(signs_fd.indptr), np.zeros(WORDS, np.int64)
    per_word[seen] = signs_of_seen
    parts = (
        (np.sign(signs_fd.data) * np.repeat(idf, signs_of_seen)).astype(np.float32),
        signs_fd.indices.astype(np.int32),
        np.concatenate([[0], np.cumsum(per_word)]).astype(np.int32),
    )
    for name, part in zip(PARTS, parts):
        np.save(Path(folder) / name, part)


def open_tfidf(folder: Path) -> tuple[str, Callable[[list[str], Callable[[int], object]], np.ndarray]]:
    """(hash, embed), embed(texts, progress) -> float32 [len(texts), 768], every row of unit length.

    A text without any word that was seen in fitting has the first unit vector for a key: it is as far from
    all others as what has nothing in common with them.

    Raises:
        InputError: the folder does not hold what `fit_tfidf` wrote.
    """
    try:
        parts = [read_array(Path(folder) / name) for name in PARTS]
        weights_fd = csr_matrix(tuple(parts), shape=(WORDS, DIMENSION), dtype=np.float32)
        weights_fd.check_format()
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"The TF-IDF weights in {folder} are missing or damaged ({error}). Run the command that fitted "
            "them again, or bring back the folder."
        ) from error

    def embed(texts: list[str], progress: Callable[[int], object]) -> np.ndarray:
        from sklearn.preprocessing import normalize

        keys_nd, start = np.empty([len(texts), DIMENSION], np.float32), 0
        for counts_nf in word_counts(texts):
            counts_nf.data = 1 + np.log(counts_nf.data)
            block_nd = normalize((counts_nf @ weights_fd).toarray())
            block_nd[~block_nd.any(axis=1), 0] = 1
            keys_nd[start : start + len(block_nd)] = block_nd
            start += len(block_nd)
            progress(len(block_nd))
        return keys_nd

    return fingerprint([PATTERN, *(Path(folder) / name for name in PARTS)]), embed


def word_counts(texts: Iterable[str]) -> Iterator[csr_matrix]:
    """float32 [at most BLOCK, WORDS]: how often each text has each word."""
    from sklearn.feature_extraction.text import HashingVectorizer

    counter = HashingVectorizer(
        token_pattern=PATTERN, n_features=WORDS, alternate_sign=False, norm=None, dtype=np.float32
    )
    texts = iter(texts)
    while block := list(islice(texts, BLOCK)):
        yield counter.transform(block)
