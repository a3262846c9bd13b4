"""Exact search is brute force, IVF approximates it, and a bad index or factory string is named."""

import errno

import faiss
import numpy as np
import pytest

from errors import InputError
from retrieval.index import build_index, every_list_searched, load_index, save_index, search

RNG = np.random.default_rng(0)
KEYS = RNG.normal(size=(500, 12)).astype(np.float32)
IDS = RNG.permutation(10_000)[:500].astype(np.int64)
QUERIES = RNG.normal(size=(40, 12)).astype(np.float32)


def brute_force(k):
    distances = ((QUERIES[:, None].astype(np.float64) - KEYS[None]) ** 2).sum(-1)
    order = np.argsort(distances, axis=1)[:, :k]
    return np.take_along_axis(distances, order, axis=1), IDS[order]


def test_exact_search_is_brute_force_under_the_given_ids():
    distances, ids = search(build_index(KEYS, IDS), QUERIES, 7)
    expected_distances, expected_ids = brute_force(7)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(distances, expected_distances, rtol=0, atol=1e-4)
    assert distances.dtype == np.float32 and ids.dtype == np.int64


def test_missing_results_are_minus_one_and_infinitely_far():
    distances, ids = search(build_index(KEYS[:3], IDS[:3]), QUERIES, 5)
    assert (
        (ids[:, 3:] == -1).all() and np.isinf(distances[:, 3:]).all() and np.isfinite(distances[:, :3]).all()
    )


def test_ivf_finds_most_neighbours_and_all_of_them_in_every_list():
    index = build_index(KEYS, IDS, "IVF8,Flat", nprobe=4)
    expected = brute_force(5)[1]
    recall = np.mean(
        [len(set(a) & set(b)) / 5 for a, b in zip(search(index, QUERIES, 5)[1], expected, strict=True)]
    )
    assert 0.7 < recall < 1
    with every_list_searched(index):
        np.testing.assert_array_equal(search(index, QUERIES, 5)[1], expected)
    assert faiss.extract_index_ivf(index).nprobe == 4


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat"])
def test_saving_and_loading_changes_nothing_and_building_is_deterministic(tmp_path, factory):
    index = build_index(KEYS, IDS, factory)
    save_index(index, tmp_path / "a.faiss")
    save_index(build_index(KEYS, IDS, factory), tmp_path / "b.faiss")
    assert (tmp_path / "a.faiss").read_bytes() == (tmp_path / "b.faiss").read_bytes()
    for ours, theirs in zip(
        search(load_index(tmp_path / "a.faiss"), QUERIES, 4), search(index, QUERIES, 4), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.faiss", "b.faiss"]


def test_too_few_vectors_are_counted_in_the_error():
    with pytest.raises(InputError, match="'IVF64,Flat' cannot be trained on 20 vectors of 12 numbers"):
        build_index(KEYS[:20], IDS[:20], "IVF64,Flat")


def test_an_unknown_factory_string_is_named():
    with pytest.raises(InputError, match="cannot make the index 'Nonsense'"):
        build_index(KEYS, IDS, "Nonsense")


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-100], lambda b: b[:3], lambda b: b"", lambda b: b"{}" * 500, None]
)
def test_a_truncated_foreign_or_missing_index_is_named(tmp_path, damage):
    path = tmp_path / "index.faiss"
    if damage is not None:
        save_index(build_index(KEYS, IDS), path)
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="index.faiss is not a readable FAISS index"):
        load_index(path)


def test_a_full_disk_is_an_os_error_and_leaves_nothing(tmp_path, monkeypatch):
    index, write = build_index(KEYS, IDS), faiss.write_index
    monkeypatch.setattr(faiss, "write_index", lambda index, path: write(index, "/dev/full"))
    with pytest.raises(OSError) as caught:
        save_index(index, tmp_path / "index.faiss")
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())
