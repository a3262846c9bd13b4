"""Keys on disk are read as the array that they would be in memory; an encoder is opened again by its spec."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import InputError
from retrieval.index.keys import StoredKeys
from retrieval.keys.encoders import open_encoder

D = 3


def write(folder, sizes):
    """The paths of shards of `sizes` rows, and all rows in memory."""
    whole = np.random.default_rng(0).normal(size=(sum(sizes), D)).astype(np.float32)
    paths = [folder / f"{number}.npy" for number in range(len(sizes))]
    for path, rows in zip(paths, np.split(whole, np.cumsum(sizes)[:-1])):
        np.save(path, rows)
    return paths, whole


@settings(max_examples=60)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4), data=st.data())
def test_keys_are_read_as_an_array_is(tmp_path_factory, sizes, data):
    paths, whole = write(tmp_path_factory.mktemp("keys"), sizes)
    keys, n = StoredKeys(paths, D), len(whole)
    assert keys.shape == whole.shape and len(keys) == n
    edge = st.none() | st.integers(-n - 1, n + 1)
    which = data.draw(
        st.slices(n)
        | st.builds(slice, edge, edge)
        | st.integers(-n, n - 1)
        | st.lists(st.integers(-n, n - 1)).map(lambda ids: np.array(ids, np.int64))
        | st.lists(st.tuples(st.integers(-n, n - 1), st.integers(-n, n - 1)), min_size=1).map(np.array)
        | st.lists(st.booleans(), min_size=n, max_size=n).map(np.array)
    )
    read = keys[which]
    assert read.dtype == np.float32 and read.flags.writeable
    np.testing.assert_array_equal(read, whole[which])


@pytest.mark.parametrize("ids", [5, -6, [0, 5], np.array([[-6]])])
def test_ids_that_are_not_there(tmp_path, ids):
    keys = StoredKeys(write(tmp_path, [2, 3])[0], D)
    with pytest.raises(IndexError, match="for 5 keys"):
        keys[ids]


def test_no_keys_at_all():
    assert StoredKeys([], D).shape == (0, D) and StoredKeys([], D)[:].shape == (0, D)


def test_a_shard_that_is_missing_truncated_or_of_another_encoder_is_named(tmp_path):
    paths, _ = write(tmp_path, [2, 3])
    with pytest.raises(InputError, match=r"1\.npy holds float32 \[3, 3\] where keys, float32 \[n, 4\]"):
        np.save(paths[0], np.zeros([2, 4], np.float32))
        StoredKeys(paths, 4)
    keys = StoredKeys(write(tmp_path, [2, 3])[0], D)
    paths[1].write_bytes(paths[1].read_bytes()[:-4])
    with pytest.raises(InputError, match=r"1\.npy are missing or damaged"):
        keys[:]
    paths[1].unlink()
    with pytest.raises(InputError, match=r"1\.npy are missing or damaged"):
        StoredKeys(paths, D)


def test_an_encoder_is_opened_again_by_its_spec(encoder):
    again = open_encoder(json.loads(json.dumps(encoder.spec)))
    assert (again.name, again.hash, again.dimension, again.made_of) == (
        encoder.name, encoder.hash, encoder.dimension, encoder.made_of,
    )  # fmt: skip
    texts = ["ab cd", "", "x" * 500]
    np.testing.assert_array_equal(again.encode(texts), encoder.encode(texts))
