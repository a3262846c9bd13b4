"""A flipped byte is told, and never another number."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import InputError
from storage.sealed import (
    HASHES,
    DamagedError,
    load_array,
    opened,
    read_sealed,
    save_array,
    sealed,
    write_sealed,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CONTENTS = st.dictionaries(st.text(st.characters(exclude_characters="\0"), min_size=1), VALUES, max_size=4)


@given(CONTENTS)
def test_what_is_sealed_comes_back(content):
    assert opened(json.loads(json.dumps(sealed(content)))) == content
    assert opened(content) == content, "an older version wrote it"


def test_numbers_that_json_has_no_word_for_and_tuples_come_back():
    assert opened(json.loads(json.dumps(sealed({"a": (1, float("inf")), "b": {3: None}})))) == {
        "a": [1, float("inf")],
        "b": {"3": None},
    }


@given(st.data())
def test_any_flipped_bit_is_told_or_changes_no_number(data):
    """One in the name of the checksum leaves a field that nobody asked for."""
    content = {"step": 12, "nats": 4.251, "label": "gopher"}
    written = bytearray(json.dumps(sealed(content)).encode())
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        values = opened(json.loads(bytes(written)))
    except ValueError:
        return
    assert {name: values[name] for name in content} == content


@pytest.mark.parametrize("values", [[1], "text", None, 3])
def test_what_is_no_object_is_damaged(values):
    with pytest.raises(DamagedError, match="no JSON object"):
        opened(values)


def test_arrays_come_back_or_are_named(tmp_path):
    first, second = np.arange(5.0), np.arange(3, dtype=np.float32)
    save_array(tmp_path / "a.npy", first)
    save_array(tmp_path / "b.npy", second)
    save_array(tmp_path / "a.npy", first + 1)
    np.testing.assert_array_equal(load_array(tmp_path / "a.npy"), first + 1)
    np.testing.assert_array_equal(load_array(tmp_path / "b.npy"), second)
    whole = (tmp_path / "b.npy").read_bytes()
    for damaged in (whole[:-1] + b"\x01", whole[:-3], b"", whole + b"\0"):
        (tmp_path / "b.npy").write_bytes(damaged)
        with pytest.raises(InputError, match=r"b\.npy is missing or damaged"):
            load_array(tmp_path / "b.npy")
    (tmp_path / "b.npy").unlink()
    with pytest.raises(InputError, match=r"b\.npy is missing or damaged"):
        load_array(tmp_path / "b.npy")
    np.testing.assert_array_equal(load_array(tmp_path / "a.npy"), first + 1)


def test_damaged_hashes_are_told_and_written_anew(tmp_path):
    save_array(tmp_path / "a.npy", np.arange(5.0))
    text = (tmp_path / HASHES).read_text()
    digit = text[20]
    (tmp_path / HASHES).write_text(text[:20] + ("0" if digit != "0" else "1") + text[21:])
    with pytest.raises(InputError, match="damaged"):
        load_array(tmp_path / "a.npy")
    save_array(tmp_path / "a.npy", np.arange(5.0))
    np.testing.assert_array_equal(load_array(tmp_path / "a.npy"), np.arange(5.0))


def test_an_array_of_an_older_version_has_no_hash(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3))
    assert load_array(tmp_path / "a.npy").tolist() == [0, 1, 2]


def test_a_file_is_sealed_on_disk(tmp_path):
    write_sealed(tmp_path / "x.json", {"a": 1})
    assert read_sealed(tmp_path / "x.json") == {"a": 1}
    text = (tmp_path / "x.json").read_text()
    (tmp_path / "x.json").write_text(text.replace('"a": 1', '"a": 2'))
    with pytest.raises(DamagedError, match="checksum"):
        read_sealed(tmp_path / "x.json")
