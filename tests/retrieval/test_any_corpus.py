"""Whatever the corpus: no crash and no wrong neighbour, from one chunk to ten thousand, against brute force."""

import numpy as np
import pytest

from data.documents import Document
from data.token_store import TokenStore, write_token_store
from retrieval.chunks import chunk_groups
from retrieval.index import build as building
from retrieval.index.index import load_index
from retrieval.index.nearest_outside_group import merged_rows, nearest_outside_group, rows_mentioning
from retrieval.keys.encoders import KeyEncoder
from retrieval.neighbours.table import NeighbourTable, build_neighbour_table
from tests.retrieval.conftest import WORDS

K, SPARE = 2, 4
WORD_KEYS = np.random.default_rng(7).normal(size=(len(WORDS), 8)).astype(np.float32)


def mean_of_words(texts, progress):
    """Equal texts have equal keys, and a text without words has one too."""
    position = {word: i for i, word in enumerate(WORDS)}
    rows = [[position[word] for word in text.split()] for text in texts]
    return np.array([WORD_KEYS[row].mean(axis=0) if row else np.zeros(8) for row in rows], np.float32)


CODES = [
    "IVF32,PQ4x4",
    *(pytest.param(f, marks=pytest.mark.exhaustive) for f in ("auto", "PCAR8,IVF32_HNSW8,PQ4x4")),
]
ENCODER = KeyEncoder("words", "words", {"words": 8}, 8, mean_of_words, {})


def true_distances(keys, groups, database, k):
    """float64 [n, k] by brute force, inf where there are fewer; blocks bound the memory."""
    result = np.full([len(keys), k], np.inf)
    exact = keys.astype(np.float64)
    norms = (exact**2).sum(-1)
    for start in range(0, len(keys), 1000):
        rows = slice(start, start + 1000)
        squared = norms[rows, None] + norms[database] - 2 * exact[rows] @ exact[database].T
        squared[groups[rows, None] == groups[database]] = np.inf
        nearest = np.sort(np.partition(squared, min(k, squared.shape[1]) - 1, axis=1)[:, :k], axis=1)
        result[rows, : nearest.shape[1]] = nearest
    return np.maximum(result, 0)


def assert_honest(distances, ids, keys, groups, database, rows):
    """Each row: ascending, without repeats, of training documents and other groups, with true distances."""
    present = ids >= 0
    assert (np.isinf(distances) == ~present).all() and np.isin(ids[present], database).all()
    assert not (present & (groups[ids] == groups[rows, None])).any()
    assert (np.diff(np.where(present, distances, np.finfo(np.float32).max), axis=1) >= 0).all()
    ordered = np.sort(ids, axis=1)
    assert not ((np.diff(ordered, axis=1) == 0) & (ordered[:, 1:] >= 0)).any()
    squared = ((keys[ids].astype(np.float64) - keys[rows, None]) ** 2).sum(-1)
    np.testing.assert_allclose(distances[present], squared[present], rtol=1e-5, atol=1e-6)
    in_database = np.bincount(groups[database], minlength=groups.max() + 1)
    others = len(database) - in_database[groups[rows]]
    np.testing.assert_array_equal(present.sum(axis=1), np.minimum(ids.shape[1], others))


@pytest.fixture(scope="module")
def corpus(tokenizer, tmp_path_factory):
    """10,000 chunks and more: documents of all lengths, none and one token among them; one in five a copy."""
    rng = np.random.default_rng(0)
    documents, groups, chunks = [], [], 0
    while chunks < 10_000:
        if documents and rng.random() < 0.2:
            original = rng.integers(len(documents))
            text, group = documents[original].text, groups[rng.choice([original, len(documents) - 1])]
        else:
            length = int(rng.choice([0, 1, 61, 62, 63, rng.integers(2, 200), rng.integers(200, 4000)]))
            text, group = " ".join(rng.choice(WORDS, length)), len(documents)
        documents.append(Document(text, f"{len(documents)}", "code", f"{len(documents)}"))
        groups.append(group)
        chunks += (len(text.split()) + 2 + 63) // 64
    folder = tmp_path_factory.mktemp("corpus")
    write_token_store(folder / "store", documents, tokenizer, np.array(groups), rng.random(len(groups)) < 0.1)
    store = TokenStore(folder / "store")
    keys = mean_of_words([tokenizer.decode(t) for t in store.chunk_tokens(np.arange(chunks))], None)
    database = np.flatnonzero(~np.repeat(store.is_validation, store.num_chunks))
    groups = chunk_groups(store, np.arange(chunks))
    return folder, store, keys, groups, database, true_distances(keys, groups, database, K + SPARE)


@pytest.mark.parametrize("factory", ["Flat", "IVF64,Flat", *CODES])
def test_ten_thousand_chunks_have_no_wrong_neighbour(corpus, tokenizer, factory, monkeypatch):
    folder, store, keys, groups, database, truth = corpus
    monkeypatch.setattr(building, "EXACT_BELOW", 5000)
    monkeypatch.setattr(building, "CODES_FROM", 5000)
    monkeypatch.setattr("retrieval.index.inverted_lists.SHARD", 3000)
    path = build_neighbour_table(folder, store, tokenizer, ENCODER, K, SPARE, factory)
    table = NeighbourTable(path, store)
    assert_honest(
        np.array(table.distances), np.array(table.ids), keys, groups, database, np.arange(len(keys))
    )
    right = np.isclose(table.distances, truth, rtol=1e-4, atol=1e-6)
    if factory == "Flat":
        assert right.all()
    else:
        assert right[:, :K].mean() > 0.9


@pytest.mark.parametrize("factory", ["auto", "lists"])
def test_every_size_from_one_chunk_to_a_hundred(tmp_path, factory):
    rng = np.random.default_rng(1)
    for n in range(1, 101, 1 if factory == "auto" else 4):
        groups = rng.integers(0, max(1, n // 3), n)
        keys = rng.normal(size=(n, 4)).astype(np.float32)
        keys[n // 2 :] = keys[: n - n // 2]  # every other key occurs twice
        database = np.arange(n)
        string = f"IVF{max(1, n // 4)},Flat" if factory == "lists" else factory
        index = load_index(building.build_index(tmp_path, keys, database, groups, string, {"n": n}), 4)
        distances, ids = nearest_outside_group(index, keys, groups, 3)
        assert_honest(distances, ids, keys, groups, database, np.arange(n))
        if factory == "auto":
            truth = true_distances(keys, groups, database, 3)
            np.testing.assert_allclose(distances, truth, rtol=1e-5, atol=1e-6)


def test_what_is_added_and_removed_gives_the_table_of_what_is_there(tmp_path):
    """Rows of two indexes merged, and those that mention what is removed searched again."""
    rng = np.random.default_rng(2)
    keys, groups = rng.normal(size=(600, 4)).astype(np.float32), rng.integers(0, 40, 600)

    def index_of(ids):
        made_of = {"first": int(ids[0]), "last": int(ids[-1]), "n": len(ids)}
        return load_index(building.build_index(tmp_path, keys, ids, groups, "Flat", made_of))

    def nearest(ids, rows=None, excluded=None):
        return nearest_outside_group(index_of(ids), keys, groups, 5, rows, excluded)

    everything = np.arange(600)
    merged = merged_rows(nearest(everything[:400]), nearest(everything[400:]))
    for ours, expected in zip(merged, nearest(everything), strict=True):
        np.testing.assert_array_equal(ours, expected)
    removed = rng.choice(600, 60, replace=False)
    distances, ids = merged
    rows = rows_mentioning(ids, removed)
    assert 0 < len(rows) < 600
    distances[rows], ids[rows] = nearest(everything, rows, removed)
    for ours, expected in zip((distances, ids), nearest(np.setdiff1d(everything, removed)), strict=True):
        np.testing.assert_array_equal(ours, expected)
