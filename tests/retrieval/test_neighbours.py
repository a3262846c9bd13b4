"""Neighbours are the true nearest of other groups and of training documents, masked where there are none."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.batches import TrainBatches, evaluation_batches
from errors import InputError
from retrieval.chunks import chunk_groups
from retrieval.index import nearest_outside_group as nearest
from retrieval.index.build import build_in_memory
from retrieval.index.index import inverted_file, make_index, search
from retrieval.index.nearest_outside_group import nearest_by_keys, nearest_outside_group
from retrieval.keys.shards import embed_chunks
from retrieval.neighbours import table as neighbours
from retrieval.neighbours.batches import beside_neighbours, with_neighbours
from retrieval.neighbours.table import NeighbourTable, build_neighbour_table

K, SPARE = 2, 2


def index_of(keys, ids, factory="Flat", nprobe=1):
    index = build_in_memory(make_index(factory, keys.shape[1]), keys, ids, factory)
    if (ivf := inverted_file(index)) is not None:
        ivf.nprobe = nprobe
    return index


def brute_force(keys, groups, database, k):
    """(distances, ids) [n, k] by a full matrix in float64, ties by id."""
    distances = ((keys[:, None].astype(np.float64) - keys[database]) ** 2).sum(-1)
    distances[groups[:, None] == groups[database]] = np.inf
    distances = np.pad(distances, ((0, 0), (0, k)), constant_values=np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    distances = np.take_along_axis(distances, order, axis=1)
    return distances, np.where(np.isinf(distances), -1, np.pad(database, (0, k))[order])


@settings(max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    held_out=st.integers(0, 7),
    factory=st.sampled_from(["Flat", "IVF2,Flat"]),
    seed=st.integers(0, 2**16),
)
def test_short_rows_are_those_that_truly_have_no_others(sizes, held_out, factory, seed):
    """Groups far larger than the allowance hide the others, and keys of one group lie close together."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    keys = (10 * rng.normal(size=(len(sizes), 6))[groups] + rng.normal(size=(len(groups), 6))).astype(
        np.float32
    )
    database = np.flatnonzero(groups != held_out)
    if len(database) < 2:
        factory = "Flat"
    index = index_of(keys, database, factory, nprobe=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "OWN_GROUP_ALLOWANCE", 3)
        patch.setattr(nearest, "QUERY_ROWS", 7)
        patch.setattr(nearest, "SEARCH_ENTRIES", 40)
        distances, ids = nearest_outside_group(index, keys, groups, 4)
    expected_distances, expected_ids = brute_force(keys, groups, database, 4)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-4, atol=1e-4)


def test_one_list_of_many_still_fills_every_row():
    """IVF with nprobe 1 may find only the query's own group at first; every list is then searched."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), 50)
    keys = (100 * np.eye(4)[groups] + rng.normal(size=(200, 4))).astype(np.float32)
    index = index_of(keys, np.arange(200), "IVF4,Flat")
    ids = nearest_outside_group(index, keys, groups, 4)[1]
    np.testing.assert_array_equal(ids, brute_force(keys, groups, np.arange(200), 4)[1])


@pytest.mark.parametrize("factory", ["Flat", "IVF2,Flat", "SQ8"])
def test_no_rows_have_no_neighbours(factory):
    keys, groups = np.eye(8, dtype=np.float32), np.arange(8)
    index = index_of(keys, groups, factory)
    distances, ids = nearest_outside_group(index, keys, groups, 3, np.zeros(0, np.int64))
    assert distances.shape == ids.shape == (0, 3)


def test_the_result_does_not_depend_on_the_order_of_queries():
    rng = np.random.default_rng(1)
    keys, groups = rng.normal(size=(300, 16)).astype(np.float32), rng.integers(0, 20, 300)
    keys[100:150] = keys[0]  # fifty equal keys: ties everywhere, fewer than are searched for
    groups[100:150] = 30
    index = index_of(keys, np.arange(300))
    order = rng.permutation(300)
    straight = nearest_outside_group(index, keys, groups, 60)
    shuffled = nearest_outside_group(index, keys, groups, 60, order)
    for a, b in zip(straight, shuffled, strict=True):
        np.testing.assert_array_equal(a[order], b)


def test_keys_of_no_chunk_find_what_the_table_holds_for_the_same_keys():
    """Of four equal keys each, of which the index itself takes now these and now those."""
    rng = np.random.default_rng(0)
    keys = np.tile(rng.normal(size=(400, 384)).astype(np.float32), (5, 1))
    index = index_of(keys, np.arange(400, 2000))
    distances, ids = nearest_outside_group(index, keys, np.arange(2000), K + SPARE, np.arange(400))
    assert (search(index, keys[:400], K)[1] != ids[:, :K]).any(), "the index itself is as good by now"
    live = nearest_by_keys(index, keys, keys[:400], K)
    np.testing.assert_array_equal(live[1], ids[:, :K])
    np.testing.assert_array_equal(live[0], distances[:, :K])
    np.testing.assert_array_equal(live[1], np.arange(400)[:, None] + [400, 800])


@pytest.fixture(scope="module")
def stored(make_store, tokenizer, encoder, tmp_path_factory):
    root = tmp_path_factory.mktemp("stored")
    lengths, groups = [300, 150, 1, 0, 400, 130, 64, 200], [0, 1, 2, 3, 4, 4, 5, 6]
    store = make_store(
        root / "store", lengths, groups, [False, False, False, False, False, False, True, True]
    )
    path = build_neighbour_table(root, store, tokenizer, encoder, K, SPARE)
    return root, store, NeighbourTable(path, store)


def test_the_table_is_brute_force_over_the_training_chunks(stored, tokenizer, encoder):
    _, store, table = stored
    chunks = np.arange(store.chunk_offsets[-1])
    keys = embed_chunks(store, tokenizer, encoder, chunks)
    database = np.flatnonzero(~store.is_validation[store.chunk_documents(chunks)])
    distances, ids = brute_force(keys, chunk_groups(store, chunks), database, K + SPARE)
    np.testing.assert_allclose(table.distances, distances, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(table.ids, ids)
    assert table.ids.dtype == np.int64 and table.distances.dtype == np.float32


@settings(max_examples=15)
@given(
    documents=st.lists(
        st.tuples(st.integers(0, 150), st.integers(0, 3), st.booleans()), min_size=1, max_size=6
    ),
    seed=st.integers(0, 3),
    data=st.data(),
)
def test_any_store_gives_neighbours_of_training_and_of_other_groups_only(
    make_store, tokenizer, encoder, documents, seed, data
):
    """Tiny, one-token, duplicate and lone documents; a store without any training document."""
    lengths, groups, sides = zip(*documents, strict=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store = make_store(
            root / "store", lengths + lengths[:1], groups + groups[:1], sides + sides[:1], seed
        )
        table = NeighbourTable(build_neighbour_table(root, store, tokenizer, encoder, K, SPARE), store)
        total = int(store.chunk_offsets[-1])
        chunk = st.integers(-1, total - 1)
        chunks = np.array(
            data.draw(st.lists(st.lists(chunk, min_size=3, max_size=3), min_size=1, max_size=3))
        )
        training = ~np.repeat(store.is_validation, store.num_chunks)
        group = np.repeat(store.groups, store.num_chunks)
        for row in range(total):
            ids = table.ids[row][table.ids[row] >= 0]
            assert training[ids].all() and (group[ids] != group[row]).all()
            assert len(ids) == min(K + SPARE, (training & (group != group[row])).sum()) == len(set(ids))
        neighbours = table.neighbours(chunks, K)
        for sequence, rows in zip(chunks, neighbours, strict=True):
            seen = set(group[sequence[sequence >= 0]])
            assert not seen & set(group[rows[rows >= 0]])
            assert (rows[sequence < 0] == -1).all()
        tokens, mask = table.lookup(chunks, K)
        assert tokens.shape == mask.shape == (*chunks.shape, K, 128)
        assert (mask.any(axis=-1) == (neighbours >= 0)).all()
        assert (tokens[~mask] == store.pad_id).all()


def test_lookup_skips_the_groups_of_the_sequence_and_fills_up_from_the_spare(stored):
    _, store, table = stored
    chunks = np.array([[0, -1], [0, store.chunk_offsets[4]]])
    plain = table.neighbours(chunks, K, exclude_sequence=False)
    excluding = table.neighbours(chunks, K)
    np.testing.assert_array_equal(plain[:, 0], np.tile(table.ids[0, :K], (2, 1)))
    np.testing.assert_array_equal(excluding[0], plain[0])
    ids = table.ids[0]
    others = ids[(ids >= 0) & (chunk_groups(store, ids) != 4)]
    expected = np.append(others, [-1] * K)[:K]
    assert (chunk_groups(store, table.ids[0]) == 4).any(), "the example no longer has anything to skip"
    np.testing.assert_array_equal(excluding[1, 0], expected)


def test_lookup_reads_the_neighbours_text_and_its_continuation(stored):
    _, store, table = stored
    tokens, mask = table.lookup(np.array([[0]]), 1)
    document = store.chunk_documents(table.ids[0, 0])
    start = 64 * (table.ids[0, 0] - store.chunk_offsets[document])
    expected = store.document_tokens(document)[start : start + 128]
    assert list(tokens[0, 0, 0][mask[0, 0, 0]]) == list(expected)


def test_a_document_of_a_row_reads_no_neighbours_of_the_one_before_it(stored):
    """In training; what is evaluated is one document a row, and the same with either."""
    _, store, table = stored
    train, boundaries = TrainBatches(store, 2, 256, seed=0), 0
    for step in range(4):
        batch = train(step)
        mask_buk = with_neighbours(batch, table, K)["neighbours"].mask.any(-1)
        across = with_neighbours(batch, table, K, across_documents=True)["neighbours"]
        np.testing.assert_array_equal(across.mask, table.lookup(batch.chunks, K)[1])
        documents = store.chunk_documents(batch.chunks)
        for b, u in np.ndindex(documents.shape):
            following = documents[b, u + 1] if u + 1 < documents.shape[1] else -1
            hidden = following not in (documents[b, u], -1)
            boundaries += hidden and across.mask[b, u].any()
            np.testing.assert_array_equal(mask_buk[b, u], across.mask[b, u].any(-1) & (not hidden))
    assert boundaries, "the example has nothing to hide any more"
    for batch, _ in evaluation_batches(store, 2, 128):
        given = [with_neighbours(batch, table, K, across)["neighbours"] for across in (False, True)]
        np.testing.assert_array_equal(*(neighbours.mask for neighbours in given))


@pytest.mark.parametrize("length", [64, 128, 256])
def test_tokens_with_neighbours_in_view(stored, length):
    """Token p reads the neighbours of chunk (p + 1) // 64 - 1 (RETRO section 2.4)."""
    _, store, table = stored
    for batch, _ in evaluation_batches(store, 2, length, stride=64):
        mask_buk = with_neighbours(batch, table, K)["neighbours"].mask.any(-1)
        beside_bt = beside_neighbours(batch, table, K)
        for b, p in np.ndindex(batch.tokens.shape):
            u = (p + 1) // 64 - 1
            in_view = u >= 0 and mask_buk[b, u].any()
            assert beside_bt[b, p] == (in_view and batch.weights[b, p] > 0)
        assert beside_bt.any() or length == 64


def test_more_neighbours_than_the_table_keeps_are_refused(stored):
    with pytest.raises(InputError, match="5 neighbours were asked for, but the table keeps 4"):
        stored[2].lookup(np.array([[0]]), 5)


def test_a_whole_table_is_reused_without_the_encoder(stored, tokenizer, encoder, monkeypatch):
    root, store, _ = stored
    monkeypatch.setattr(neighbours, "embed_store", lambda *_: pytest.fail("embedded again"))
    build_neighbour_table(root, store, tokenizer, encoder, K, SPARE)


def test_a_damaged_index_is_named_and_rebuilt(stored, tokenizer, encoder, capsys):
    root, store, table = stored
    (index,) = root.glob("index-*/index.faiss")
    before = index.read_bytes()
    index.write_bytes(before[:-50])
    build_neighbour_table(root, store, tokenizer, encoder, K, SPARE + 1)
    assert "index.faiss is damaged" in capsys.readouterr().err
    assert index.read_bytes() == before


def test_another_store_is_refused(stored, make_store, tmp_path):
    root, _, _ = stored
    (path,) = (path for path in root.glob("neighbours-*") if np.load(path / "ids.npy").shape[1] == K + SPARE)
    with pytest.raises(InputError, match="made for another token store"):
        NeighbourTable(path, make_store(tmp_path / "other", [300, 150]))
    with pytest.raises(InputError, match="not a neighbour table"):
        NeighbourTable(tmp_path / "nowhere", stored[1])


def test_ivf_by_factory_string_needs_enough_text(stored, tokenizer, encoder):
    root, store, exact = stored
    ivf = NeighbourTable(build_neighbour_table(root, store, tokenizer, encoder, K, SPARE, "IVF2,Flat"), store)
    np.testing.assert_array_equal(ivf.ids, exact.ids)  # two lists, both searched
    with pytest.raises(InputError, match="'IVF64,Flat' cannot be trained on"):
        build_neighbour_table(root, store, tokenizer, encoder, K, SPARE, "IVF64,Flat")
