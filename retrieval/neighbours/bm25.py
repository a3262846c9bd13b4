"""Neighbours by BM25 (Robertson & Zaragoza 2009, Section 3.4): exact, by the words that chunks share.

A word f of a query scores in a chunk of length l, in which it stands tf times,

    log(1 + (n - df + 0.5) / (df + 0.5)) · tf / (tf + k1 · (1 - b + b · l / mean l))

with n, df and mean l of the chunks of training documents. A word counts once however often the query has it.
Words are those of `retrieval.keys.tfidf`; none is left out for being frequent.

Measured on the standard library, 600 held-out chunks: the longest run of tokens that a chunk shares with the
better of its two neighbours is 9.1 tokens by BM25, 7.6 by MiniLM's keys, 1.7 by chance; with the neighbours'
continuations 9.6, 8.3 and 1.9. BM25 and MiniLM agree on 14 % of the neighbours. The table of all 28,441
chunks takes 27 s of one core and 0.7 GB.

Shape suffixes: n chunks of training documents, q queries, f hashed words.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix, vstack

from data.token_store import TokenStore
from data.tokenizers import Tokenizer
from progress import bar
from retrieval.chunks import chunk_groups, chunk_text, store_hash, training_chunks
from retrieval.keys.tfidf import PATTERN, WORDS, word_counts
from retrieval.neighbours.table import Rows, all_rows, save_rows
from storage.artifacts import artifact

K1, B = 1.2, 0.75
SCORES = 2**23  # held at once, in 24 bytes each


def bm25_table(root: Path, store: TokenStore, tokenizer: Tokenizer, k: int = 2, spare: int = 8) -> Path:
    """The artifact folder of a table as `build_neighbour_table` makes it, with BM25 in the place of keys.

    Its distances are minus the scores: rising, below 0, inf = missing. A chunk that shares no word with the
    query is no neighbour of it.
    """
    made_of = {"store": store_hash(store), "tokenizer": tokenizer.hash, "pattern": PATTERN, "words": WORDS}
    made_of |= {"k1": K1, "b": B}

    def counts(chunks: np.ndarray) -> csr_matrix:
        texts = (chunk_text(store, tokenizer, chunk) for chunk in chunks)
        return vstack([csr_matrix((0, WORDS), dtype=np.float32), *word_counts(texts)], "csr")

    def build(folder: Path) -> None:
        training, total = training_chunks(store), int(store.chunk_offsets[-1])
        weights_nf = bm25_weights(counts(training))
        groups = chunk_groups(store, np.arange(total))
        with bar("BM25", total, "chunk") as progress:

            def rows_of(rows: np.ndarray) -> Rows:
                return best_outside_group(
                    weights_nf, counts(rows), training, groups, rows, k + spare, progress.update
                )

            save_rows(folder, all_rows(root, total, made_of | {"k": k + spare}, rows_of))

    return artifact(root, "neighbours", made_of | {"k": k, "spare": spare}, build)


def bm25_weights(counts_nf: csr_matrix) -> csr_matrix:
    """float32 [n, f]: what each word scores in each chunk. counts_nf: how often it stands there."""
    n, df_f = counts_nf.shape[0], counts_nf.getnnz(axis=0)
    idf_f = np.log1p((n - df_f + 0.5) / (df_f + 0.5))
    length_n = np.asarray(counts_nf.sum(axis=1)).ravel()
    relative_n = length_n * (n / max(1.0, length_n.sum()))
    tf = counts_nf.data.astype(np.float64)
    saturation = np.repeat(K1 * (1 - B + B * relative_n), np.diff(counts_nf.indptr))
    scores = idf_f[counts_nf.indices] * tf / (tf + saturation)
    return csr_matrix((scores.astype(np.float32), counts_nf.indices, counts_nf.indptr), counts_nf.shape)


def best_outside_group(
    weights_nf: csr_matrix, counts_qf: csr_matrix, training: np.ndarray, groups: np.ndarray,
    rows: np.ndarray, k: int, progress: Callable[[int], object],
) -> Rows:  # fmt: skip
    """The k chunks of `training` (int64 [n] ids, rising) of another group that score best for the chunks
    `rows` (int64 [q] ids): (minus the scores float32 [q, k], ids int64 [q, k]), equal scores by id.

    groups: int64 by chunk id. progress is called with the number of queries done since the last call.
    """
    distances = np.full([len(rows), k], np.inf, np.float32)
    ids = np.full([len(rows), k], -1, np.int64)
    n = len(training)
    kept, step = min(k, n), max(1, SCORES // max(1, n))
    for first in range(0, len(rows), step):
        at = slice(first, first + step)
        asked_qf = counts_qf[at].sign()
        words = np.unique(asked_qf.indices)
        scores_nq = weights_nf[:, words] @ asked_qf[:, words].T.toarray()
        scores_nq[groups[training][:, None] == groups[rows[at]]] = 0
        # Scores are not negative, so as integers their bits are in the same order; the place breaks ties.
        bits_qn = np.ascontiguousarray(scores_nq.T).view(np.int32).astype(np.int64)
        ranked_qn = (bits_qn << 32) | np.arange(n)[::-1]
        if kept < n:
            ranked_qn.partition(n - kept, axis=1)
        best = -np.sort(-ranked_qn[:, n - kept :], axis=1)
        matches = best >> 32 > 0
        scores = (best >> 32).astype(np.int32).view(np.float32)
        distances[at, :kept] = np.where(matches, -scores, np.inf)
        ids[at, :kept] = np.where(matches, training[n - 1 - (best & 0xFFFFFFFF)], -1)
        progress(len(best))
    return distances, ids
