"""BM25 neighbours are those of the formula, word by word, outside the query's group and among training chunks."""

from collections import Counter
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, vstack

from retrieval.chunks import chunk_groups, chunk_text
from retrieval.keys.encoders import no_progress
from retrieval.keys.tfidf import WORDS, word_counts
from retrieval.neighbours import bm25
from retrieval.neighbours.bm25 import best_outside_group, bm25_table, bm25_weights
from retrieval.neighbours.table import NeighbourTable

TEXTS = st.lists(st.lists(st.sampled_from("a b c d e f g h ( ) = name".split()), max_size=12), max_size=12)


def scores_by_formula(queries, texts):
    """float64 [q, n], texts being lists of words; k1 = 1.2, b = 0.75."""
    n, mean = len(texts), sum(map(len, texts)) / max(1, len(texts))
    df = Counter(word for text in texts for word in set(text))
    scores = np.zeros([len(queries), n])
    for q, query in enumerate(queries):
        for t, text in enumerate(texts):
            for word in set(query) & set(text):
                tf = text.count(word)
                idf = log(1 + (n - df[word] + 0.5) / (df[word] + 0.5))
                scores[q, t] += idf * tf / (tf + 1.2 * (1 - 0.75 + 0.75 * len(text) / mean))
    return scores


def counted(texts):
    counts = word_counts(" ".join(text) for text in texts)
    return vstack([csr_matrix((0, WORDS), dtype=np.float32), *counts], "csr")


def check(distances, ids, scores_qn, database, k):
    """The k best by scores that are 0 where there is nothing to find."""
    assert distances.dtype == np.float32 and ids.dtype == np.int64
    expected = -np.sort(-np.pad(scores_qn, ((0, 0), (0, k))), axis=1)[:, :k]
    np.testing.assert_allclose(np.where(ids < 0, 0, -distances), expected, rtol=1e-5)
    assert (np.isinf(distances) == (ids < 0)).all()
    for row, score_n in enumerate(scores_qn):
        neighbours = ids[row][ids[row] >= 0]
        assert len(set(neighbours)) == len(neighbours) == min(k, (score_n > 0).sum())
        place = np.searchsorted(database, neighbours)
        np.testing.assert_allclose(score_n[place], -distances[row, : len(neighbours)], rtol=1e-5)
        np.testing.assert_array_equal(
            np.lexsort((neighbours, distances[row, : len(neighbours)])), np.arange(len(neighbours))
        )


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS, seed=st.integers(0, 99), k=st.integers(1, 6), held=st.integers(1, 40))
def test_neighbours_are_those_of_the_formula(texts, seed, k, held):
    rng = np.random.default_rng(seed)
    groups, training = rng.integers(0, 5, len(texts)), rng.random(len(texts)) < 0.7
    database, rows = np.flatnonzero(training), rng.permutation(len(texts))
    scores = scores_by_formula([texts[r] for r in rows], [texts[d] for d in database])
    scores[groups[rows][:, None] == groups[database]] = 0
    weights, counts = bm25_weights(counted([texts[d] for d in database])), counted([texts[r] for r in rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bm25, "SCORES", held)
        best = best_outside_group(weights, counts, database, groups, rows, k, no_progress)
    check(*best, scores, database, k)


def test_equal_chunks_are_ordered_by_id_whatever_the_blocks(monkeypatch):
    texts = [["a", "b"]] * 50 + [["c"]] * 2
    counts, groups = counted(texts), np.arange(52)
    ids = []
    for held in (52, 2**20):
        monkeypatch.setattr(bm25, "SCORES", held)
        ids.append(
            best_outside_group(bm25_weights(counts), counts, groups, groups, groups, 4, no_progress)[1]
        )
    np.testing.assert_array_equal(*ids)
    np.testing.assert_array_equal(
        ids[0][[0, 2, 49, 50]], [[1, 2, 3, 4], [0, 1, 3, 4], [0, 1, 2, 3], [51, -1, -1, -1]]
    )


def test_the_table_is_the_formula_over_the_training_chunks(make_store, tokenizer, tmp_path):
    held_out = [False, False, False, False, True]
    store = make_store(tmp_path / "store", [300, 150, 130, 64, 200], [0, 1, 2, 2, 3], held_out)
    path = bm25_table(tmp_path, store, tokenizer, 2, 3)
    table = NeighbourTable(path, store)
    chunks = np.arange(store.chunk_offsets[-1])
    groups, documents = chunk_groups(store, chunks), store.chunk_documents(chunks)
    database = np.flatnonzero(~store.is_validation[documents])
    texts = [chunk_text(store, tokenizer, chunk).split() for chunk in chunks]
    scores = scores_by_formula(texts, [texts[d] for d in database])
    scores[groups[:, None] == groups[database]] = 0
    check(table.distances, table.ids, scores, database, 5)
    assert table.neighbours(chunks[None], 2).shape == (1, len(chunks), 2)
    assert (
        bm25_table(tmp_path, store, tokenizer, 2, 3) == path != bm25_table(tmp_path, store, tokenizer, 2, 4)
    )
