"""Exact search is brute force, IVF approximates it, and a bad index or factory string is named."""

import errno

import faiss
import numpy as np
import pytest

from errors import InputError
from retrieval.index.batched import search_by_list
from retrieval.index.build import build_in_memory, build_index, choose_factory
from retrieval.index.index import (
    INDEX,
    LISTS,
    every_list_searched,
    exact_search,
    inverted_file,
    load_index,
    make_index,
    save_index,
    search,
    search_lists,
)

RNG = np.random.default_rng(0)
KEYS = RNG.normal(size=(10_000, 12)).astype(np.float32)
IDS = RNG.permutation(10_000)[:500].astype(np.int64)
QUERIES = RNG.normal(size=(40, 12)).astype(np.float32)
GROUPS = np.arange(10_000)
REFINED = "IVF8,PQ3x4,RFlat"


def index_of(factory="Flat", ids=IDS, nprobe=4):
    index = build_in_memory(make_index(factory, 12), KEYS, ids, factory)
    if (ivf := inverted_file(index)) is not None:
        ivf.nprobe = nprobe
    return index


def built(root, factory, ids=IDS):
    return build_index(root, KEYS, ids, GROUPS, factory, {"made of": "test"})


def brute_force(k, ids=IDS):
    distances = ((QUERIES[:, None].astype(np.float64) - KEYS[ids][None]) ** 2).sum(-1)
    order = np.argsort(distances, axis=1)[:, :k]
    return np.take_along_axis(distances, order, axis=1), ids[order]


@pytest.mark.parametrize(
    "find",
    [
        lambda k: search(index_of(), QUERIES, k),
        lambda k: exact_search(KEYS, IDS, QUERIES, k),
        lambda k: exact_search(KEYS, np.sort(IDS), QUERIES, k),
    ],
)
def test_exact_search_is_brute_force_under_the_given_ids(find, monkeypatch):
    monkeypatch.setattr("retrieval.index.index.BLOCK", 77)
    distances, ids = find(7)
    expected_distances, expected_ids = brute_force(7)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(distances, expected_distances, rtol=0, atol=1e-4)
    assert distances.dtype == np.float32 and ids.dtype == np.int64


@pytest.mark.parametrize(
    "find",
    [lambda k: search(index_of(ids=IDS[:3]), QUERIES, k), lambda k: exact_search(KEYS, IDS[:3], QUERIES, k)],
)
def test_missing_results_are_minus_one_and_infinitely_far(find):
    distances, ids = find(5)
    assert (
        (ids[:, 3:] == -1).all() and np.isinf(distances[:, 3:]).all() and np.isfinite(distances[:, :3]).all()
    )


def test_ivf_finds_most_neighbours_and_all_of_them_in_every_list():
    index = index_of("IVF8,Flat")
    expected = brute_force(5)[1]
    recall = np.mean(
        [len(set(a) & set(b)) / 5 for a, b in zip(search(index, QUERIES, 5)[1], expected, strict=True)]
    )
    assert 0.7 < recall < 1
    with every_list_searched(index):
        np.testing.assert_array_equal(search(index, QUERIES, 5)[1], expected)
    np.testing.assert_array_equal(search(index, QUERIES, 5, nprobe=8)[1], expected)
    assert faiss.extract_index_ivf(index).nprobe == 4


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat", "PCA8,IVF8,Flat", "IVF8,SQ8", "SQ8", REFINED])
@pytest.mark.parametrize("merged", [False, True])
def test_what_is_excluded_is_never_found_and_others_take_its_place(tmp_path, factory, merged):
    index = load_index(built(tmp_path, factory)) if merged else index_of(factory)
    excluded = IDS[:490]
    distances, ids = search(index, QUERIES, 8, excluded)
    assert not np.isin(ids, excluded).any() and (ids >= 0).all() and np.isfinite(distances).all()
    if factory == "Flat":
        np.testing.assert_array_equal(ids, brute_force(8, IDS[490:])[1])
    assert (search(index, QUERIES, 12, excluded)[1][:, 10:] == -1).all()


@pytest.mark.parametrize(
    "factory",
    ["Flat", "IVF8,Flat", "IVF8,SQ8", "PCAR8,IVF8_HNSW4,PQ4x4", "HNSW8,Flat", "IVF8,PQ4x4fs", REFINED],
)
def test_a_built_index_is_the_one_made_in_memory_and_has_the_same_bytes_again(tmp_path, factory, monkeypatch):
    monkeypatch.setattr("retrieval.index.inverted_lists.SHARD", 128)
    folders = [built(tmp_path / name, factory) for name in "ab"]
    files = [{p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders]
    if not factory.startswith("HNSW"):  # whose graph several threads build in the order they happen to take
        assert files[0] == files[1]
    index = load_index(folders[0], 12)
    assert index.ntotal == len(IDS)
    every = index_of(factory, nprobe=8)
    with every_list_searched(index):
        ours = search(index, QUERIES, 4)
    if "PCA" not in factory and "HNSW" not in factory:
        np.testing.assert_array_equal(ours[1], search(every, QUERIES, 4)[1])
    assert np.isin(ours[1], IDS).all()


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat"])
def test_saving_and_loading_changes_nothing(tmp_path, factory):
    index = index_of(factory)
    save_index(index, tmp_path / INDEX)
    for ours, theirs in zip(search(load_index(tmp_path), QUERIES, 4), search(index, QUERIES, 4), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [path.name for path in tmp_path.iterdir()] == [INDEX]


def test_a_build_that_was_killed_redoes_only_what_is_unfinished(tmp_path, monkeypatch):
    monkeypatch.setattr("retrieval.index.inverted_lists.SHARD", 100)
    whole = built(tmp_path / "whole", "IVF4,PQ3x4")
    encode, calls = faiss.IndexIVFPQ.encode_vectors, []

    def killed_at(number):
        def encode_vectors(*arguments):
            calls.append(1)
            if len(calls) == number:
                raise KeyboardInterrupt
            return encode(*arguments)

        monkeypatch.setattr(faiss.IndexIVFPQ, "encode_vectors", encode_vectors)

    killed_at(3)
    with pytest.raises(KeyboardInterrupt):
        built(tmp_path / "killed", "IVF4,PQ3x4")
    killed_at(0)
    calls.clear()
    again = built(tmp_path / "killed", "IVF4,PQ3x4")
    assert len(calls) == 3
    assert {p.name: p.read_bytes() for p in whole.iterdir()} == {
        p.name: p.read_bytes() for p in again.iterdir()
    }
    assert whole.name == again.name


@pytest.mark.parametrize("factory", ["IVF64,Flat", "IVF64,PQ4", "IVF64,PQ3x4fs"])
def test_too_few_vectors_are_counted_in_the_error(tmp_path, factory):
    with pytest.raises(InputError, match=f"'{factory}' cannot be trained on 20 vectors of 12 numbers"):
        built(tmp_path, factory, IDS[:20])


def test_an_unknown_factory_string_is_named(tmp_path):
    with pytest.raises(InputError, match="index 'Nonsense' is not supported"):
        built(tmp_path, "Nonsense")


@pytest.mark.parametrize(
    "factory",
    [
        "HNSW0", "HNSW1", "HNSW99999999", "IVF0,Flat", "IVF-1,Flat", "IVF4_HNSW0,Flat", "IVF4_HNSW99999999,Flat",
        "IVF4,PQ4x0", "PQ4x40", "PQ0", "PCA0,Flat", "PCA64,Flat", "OPQ0,PQ4", "RR99,Flat", "IMI2x0,Flat", "NSG8,Flat",
        "NSG8", "NNDescent8", "LSH", "IDMap,Flat", "IDMap2,Flat", "IVF" + "9" * 6000 + ",Flat", "Flat,Flat", "", ",",
        "flat", "Flat ", "IVF4,Flat,RFlat,RFlat", "IVF٤,Flat", "IVF2_NSG4,Flat", "Flat\n",
    ],
)  # fmt: skip
def test_what_ends_the_process_or_is_unknown_never_reaches_faiss(factory, monkeypatch):
    monkeypatch.setattr(faiss, "index_factory", None)
    with pytest.raises(InputError, match="The index '"):
        make_index(factory, 12)


@pytest.mark.parametrize(
    "factory", ["PQ3x4", "HNSW2", "HNSW8,SQ8", "OPQ3_6,IVF8,PQ3x4,RFlat", "RR8,SQ4", "IVF8,SQfp16"]
)
def test_supported_strings_make_an_index_that_finds(tmp_path, factory):
    index = load_index(built(tmp_path, factory))
    distances, ids = search(index, KEYS[IDS[:20]], 5)
    assert index.ntotal == len(IDS) and np.isin(ids, IDS).all() and (np.diff(distances) >= 0).all()


def test_every_size_has_an_index_that_can_be_made():
    for n in (1, 10, 1000, 65_535, 65_536, 10**6, 10**9):
        for d in (1, 7, 32, 384, 768):
            factory = choose_factory(n, d)
            ivf = inverted_file(make_index(factory, d)) if n < 10**7 else None
            assert (factory == "Flat") == (n < 65_536) and (ivf is None or ivf.nlist * 39 <= n)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-100], lambda b: b[:3], lambda b: b"", lambda b: b"{}" * 500, None]
)
def test_a_truncated_foreign_or_missing_index_is_named(tmp_path, damage):
    path = tmp_path / "index.faiss"
    if damage is not None:
        save_index(index_of(), path)
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="index.faiss is not a readable FAISS index"):
        load_index(path)


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b"", lambda b: b + b" ", None])
def test_lists_that_are_not_those_of_the_index_are_named(tmp_path, damage):
    folder = built(tmp_path, "IVF8,Flat")
    lists = (folder / LISTS).read_bytes()
    (folder / LISTS).unlink()
    if damage is not None:
        (folder / LISTS).write_bytes(damage(lists))
    with pytest.raises(InputError, match="lists.bin"):
        load_index(folder)


def test_an_index_of_another_dimension_is_named(tmp_path):
    with pytest.raises(InputError, match="of keys of 12 numbers, and those given have 384"):
        load_index(built(tmp_path, "Flat"), 384)


def test_a_full_disk_is_an_os_error_and_leaves_nothing(tmp_path, monkeypatch):
    index, write = index_of(), faiss.write_index
    monkeypatch.setattr(faiss, "write_index", lambda index, path: write(index, "/dev/full"))
    with pytest.raises(OSError) as caught:
        save_index(index, tmp_path / "index.faiss")
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_in_the_middle_of_the_merge_is_explained_and_nothing_is_lost(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "retrieval.index.inverted_lists.open", lambda *a, **k: open("/dev/full", "wb"), raising=False
    )
    with pytest.raises(InputError, match="The disk that holds .* is full: the index could not be written"):
        built(tmp_path, "IVF8,Flat")
    assert not list(tmp_path.glob("index-*")) and len(list(tmp_path.glob("filled-*"))) == 1
    monkeypatch.undo()
    assert load_index(built(tmp_path, "IVF8,Flat")).ntotal == len(IDS)


@pytest.mark.parametrize("factory", ["IVF8,Flat", "IVF8,SQ8", "IVF8,PQ4x4", "IVF200,Flat"])
@pytest.mark.parametrize("nprobe", [1, 3, 8])
def test_a_search_list_by_list_is_an_ordinary_search(factory, nprobe, capfd, monkeypatch):
    """Lists that are empty or hold fewer than k, equal keys, and blocks of a list's queries among them."""
    monkeypatch.setattr("retrieval.index.batched.PAIRS", 500)
    ids = np.concatenate([IDS, IDS[:30] + 20_000])
    index = make_index(factory, 12)
    index.train(KEYS[IDS])
    index.add_with_ids(np.concatenate([KEYS[IDS], KEYS[IDS[:30]]]), ids)
    index.nprobe = nprobe
    queries = KEYS[:300]
    expected, _ = search_lists(index, queries, 40)
    distances, ids = search_by_list(inverted_file(index), queries, 40)
    np.testing.assert_allclose(distances, expected, rtol=1e-4, atol=1e-4)
    assert (np.isinf(distances) == (ids < 0)).all() and np.isinf(expected).any() == np.isinf(distances).any()
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in ids)
    assert capfd.readouterr().out == ""
