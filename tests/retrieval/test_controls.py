"""Tables that are worse on purpose are so in the one thing they are named for, and open like any other."""

import numpy as np
import pytest

from errors import InputError
from retrieval.chunks import chunk_groups, training_chunks
from retrieval.index.recall import read_recall
from retrieval.neighbours.controls import approximate_table, document_share_table, random_table
from retrieval.neighbours.table import KeySource, NeighbourTable, build_neighbour_table

K, SPARE = 2, 3


@pytest.fixture(scope="module")
def stored(make_store, tmp_path_factory):
    root = tmp_path_factory.mktemp("stored")
    lengths, groups = [300, 150, 1, 0, 400, 130, 64, 200], [0, 1, 2, 3, 4, 4, 5, 6]
    held_out = [False, False, False, False, False, False, True, True]
    return root, make_store(root / "store", lengths, groups, held_out)


@pytest.fixture(scope="module")
def whole(stored, tokenizer, encoder):
    root, store = stored
    return NeighbourTable(build_neighbour_table(root, store, tokenizer, encoder, K, SPARE), store)


def held_out(store):
    return np.setdiff1d(np.arange(store.chunk_offsets[-1]), training_chunks(store))


@pytest.mark.parametrize("spare", [0, 3, 40])
def test_random_neighbours_are_training_chunks_of_other_groups_and_none_twice(stored, spare):
    root, store = stored
    table = NeighbourTable(random_table(root, store, K, spare), store)
    chunks, database = np.arange(store.chunk_offsets[-1]), training_chunks(store)
    groups = chunk_groups(store, chunks)
    assert table.ids.shape == (len(chunks), K + spare)
    for chunk, (row, distances) in enumerate(zip(table.ids, table.distances)):
        others, neighbours = database[groups[database] != groups[chunk]], row[row >= 0]
        assert (
            len(set(neighbours)) == len(neighbours) == min(K + spare, len(others))
            and np.isin(neighbours, others).all()
        )
        np.testing.assert_array_equal(distances, np.where(row < 0, np.inf, 0))
        assert (row[len(neighbours) :] == -1).all()


def test_random_neighbours_are_all_drawn_as_often_and_anew_with_another_seed(make_store, tmp_path):
    store = make_store(tmp_path / "store", [64 * 8] * 6 + [64 * 600], is_validation=[False] * 6 + [True])
    first, again, other = (
        NeighbourTable(random_table(tmp_path / name, store, 2, 0, seed), store).ids
        for name, seed in (("a", 0), ("b", 0), ("a", 1))
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.9
    database, queries = training_chunks(store), held_out(store)
    for column in first[queries].T:
        times = np.array([(column == chunk).sum() for chunk in database])
        expected = len(queries) / len(database)
        # A chi-square of 48 or so degrees of freedom; 100 is beyond five standard deviations.
        assert ((times - expected) ** 2 / expected).sum() < 100


def test_a_share_of_one_is_the_whole_table(stored, whole, tokenizer, encoder):
    root, store = stored
    chunks = held_out(store)
    # All documents but searched for these queries alone, and the table's own rows.
    for share in (0.999, 1):
        path = document_share_table(root, KeySource(store, tokenizer, encoder), share, chunks, K, SPARE)
        table = NeighbourTable(path, store)
        np.testing.assert_array_equal(table.ids[chunks], whole.ids[chunks])
        np.testing.assert_array_equal(table.distances[chunks], whole.distances[chunks])
        rest = np.setdiff1d(np.arange(len(table.ids)), chunks)
        assert (table.ids[rest] == -1).all() and np.isinf(table.distances[rest]).all() and len(rest)
        assert table.ids.shape == whole.ids.shape and table.ids.dtype == np.int64


@pytest.mark.parametrize("draw", [0, 3])
def test_smaller_databases_lie_in_larger_ones_document_by_document(stored, tokenizer, encoder, draw):
    root, store = stored
    chunks = held_out(store)
    spare = len(training_chunks(store))  # a row then lists its whole database
    databases = []
    for share in (0.01, 0.4, 0.5, 0.8, 1):
        path = document_share_table(root, KeySource(store, tokenizer, encoder), share, chunks, 1, spare, draw)
        rows = NeighbourTable(path, store).ids[chunks]
        databases.append(set(rows[0][rows[0] >= 0]))
        assert all(set(row[row >= 0]) == databases[-1] for row in rows)
    assert all(smaller <= larger for smaller, larger in zip(databases, databases[1:]))
    assert databases[-1] == set(training_chunks(store)) != databases[2]
    for database in databases:
        documents = set(store.chunk_documents(np.array(sorted(database), np.int64)))
        assert sum(store.num_chunks[d] for d in documents) == len(database)


def test_another_draw_is_of_other_documents(stored, tokenizer, encoder):
    root, store = stored
    chunks, source = held_out(store), KeySource(store, tokenizer, encoder)
    found = [
        NeighbourTable(document_share_table(root, source, 0.2, chunks, 1, 0, draw), store).ids[chunks]
        for draw in range(5)
    ]
    assert len({ids.tobytes() for ids in found}) > 1


@pytest.mark.parametrize("share", [0, -0.5, 1.01, float("nan")])
def test_a_share_out_of_range_is_named(stored, tokenizer, encoder, share):
    root, store = stored
    with pytest.raises(InputError, match="above 0"):
        document_share_table(root, KeySource(store, tokenizer, encoder), share, held_out(store))


def test_an_approximate_table_finds_all_in_every_list_and_less_in_one(
    make_store, tokenizer, encoder, tmp_path
):
    store = make_store(tmp_path / "store", [64 * 50] * 9, is_validation=[True] + [False] * 8)
    whole = NeighbourTable(build_neighbour_table(tmp_path, store, tokenizer, encoder, K, 0), store)
    chunks, recalls = held_out(store), []
    for nprobe in (1, 2**20):
        path = approximate_table(tmp_path, KeySource(store, tokenizer, encoder), nprobe, chunks, K, 0)
        table = NeighbourTable(path, store)
        recalls.append(read_recall(path).reranked)
    assert recalls[0] < 0.9 < recalls[1] == 1
    np.testing.assert_array_equal(table.ids[chunks], whole.ids[chunks])
    np.testing.assert_array_equal(table.distances[chunks], whole.distances[chunks])
    assert (np.delete(table.ids, chunks, axis=0) == -1).all()
