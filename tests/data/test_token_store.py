"""The token store gives back every document, chunk and column exactly, and names what is damaged."""

import tempfile

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data.documents import Document
from data.token_store import CHUNK, TokenStore, write_token_store
from errors import InputError
from tests.data.byte_tokenizer import ByteTokenizer

lengths = st.lists(st.sampled_from([0, 1, 61, 62, 63, 64, 126, 127, 200]) | st.integers(0, 300), max_size=6)


def documents_of(lengths):
    texts = ["".join(chr(97 + (7 * d + i) % 26) for i in range(length)) for d, length in enumerate(lengths)]
    return [Document(text, f"doc{d}", ("docs", "code")[d % 2], f"group{d}") for d, text in enumerate(texts)]


def store_of(lengths, folder, tokenizer=ByteTokenizer(), **extra):
    documents = documents_of(lengths)
    groups, is_validation = np.arange(len(lengths)) // 2, np.arange(len(lengths)) % 3 == 1
    write_token_store(folder, documents, tokenizer, groups, is_validation, extra)
    return documents, TokenStore(folder)


def test_copies_and_what_is_of_one_package_count_as_one(tmp_path):
    """a, b: two packages that share a copy. c: copies within it. d alone. Documents that are not asked for
    join nothing: without the copy in b, a and b are apart.
    """
    packages = ["b", "a", "a", "c", "c", "d", "b"]
    documents = [Document("text", str(i), "docs", str(i), package) for i, package in enumerate(packages)]
    write_token_store(tmp_path, documents, ByteTokenizer(), [0, 0, 1, 2, 2, 3, 4], np.ones(7, bool))
    store = TokenStore(tmp_path)
    assert store.independent_groups(np.arange(7)).tolist() == ["a", "a", "a", "c", "c", "d", "a"]
    assert store.independent_groups(np.array([1, 2, 6])).tolist() == ["a", "a", "b"]


@given(lengths)
@example([])
@example([0])
def test_round_trip(lengths):
    with tempfile.TemporaryDirectory() as folder:
        documents, store = store_of(lengths, folder)
        assert store.num_documents == len(documents)
        for d, document in enumerate(documents):
            expected = [store.bos_id, *ByteTokenizer().encode(document.text), store.eos_id]
            np.testing.assert_array_equal(store.document_tokens(d), expected)
        assert store.sources == tuple(document.source for document in documents)
        assert store.domains == tuple(document.domain for document in documents)
        np.testing.assert_array_equal(store.num_bytes, lengths)
        np.testing.assert_array_equal(store.groups, np.arange(len(lengths)) // 2)
        np.testing.assert_array_equal(store.is_validation, np.arange(len(lengths)) % 3 == 1)
        assert store.tokens.dtype == np.uint16
        assert store.offsets.dtype == store.chunk_offsets.dtype == np.int64


@given(lengths.filter(len))
def test_chunks_tile_their_document(lengths):
    with tempfile.TemporaryDirectory() as folder:
        _, store = store_of(lengths, folder)
        for d in range(store.num_documents):
            tokens = store.document_tokens(d)
            assert store.num_chunks[d] == -(-len(tokens) // CHUNK)
            ids = np.arange(store.chunk_offsets[d], store.chunk_offsets[d + 1])
            np.testing.assert_array_equal(store.chunk_documents(ids), d)
            laid_out = store.chunk_tokens(ids).reshape(-1)
            np.testing.assert_array_equal(laid_out[: len(tokens)], tokens)
            np.testing.assert_array_equal(laid_out[len(tokens) :], store.pad_id)


@given(lengths.filter(len), st.integers(1, 150))
def test_windows_stay_in_their_document(lengths, length):
    with tempfile.TemporaryDirectory() as folder:
        _, store = store_of(lengths, folder)
        ids = np.arange(store.chunk_offsets[-1])
        tokens, inside = store.window(ids, length)
        for chunk in ids:
            d = store.chunk_documents(chunk)
            start = (chunk - store.chunk_offsets[d]) * CHUNK
            expected = store.document_tokens(d)[start : start + length]
            np.testing.assert_array_equal(tokens[chunk][inside[chunk]], expected)
            assert (tokens[chunk][~inside[chunk]] == store.pad_id).all()


def test_any_shape_of_ids_and_the_padding_chunk(tmp_path):
    _, store = store_of([200, 0, 70], tmp_path)
    ids = np.array([[0, -1], [4, 5]])
    tokens = store.chunk_tokens(ids)
    assert tokens.shape == (2, 2, CHUNK) and tokens.dtype == np.int32
    np.testing.assert_array_equal(tokens[0, 1], store.pad_id)
    np.testing.assert_array_equal(tokens[1, 0, :3], [store.bos_id, store.eos_id, store.pad_id])
    assert store.chunk_documents(np.array(-1)) == -1
    with pytest.raises(IndexError):
        store.chunk_tokens(np.array([store.chunk_offsets[-1]]))


def test_large_vocabularies_take_four_bytes(tmp_path):
    _, store = store_of([10], tmp_path, ByteTokenizer(2**16 + 1))
    assert store.tokens.dtype == np.uint32
    text = documents_of([10])[0].text
    np.testing.assert_array_equal(store.document_tokens(0)[1:-1], ByteTokenizer().encode(text))


def test_extra_columns(tmp_path):
    _, store = store_of([1, 2, 3], tmp_path / "none")
    np.testing.assert_array_equal(store.shared_ngrams, [0.0, 0.0, 0.0])
    columns = {"shared_ngrams": np.array([0, 0.5, 1]), "quality": np.arange(3)}
    _, store = store_of([1, 2, 3], tmp_path / "given", **columns)
    np.testing.assert_array_equal(store.shared_ngrams, [0, 0.5, 1])
    np.testing.assert_array_equal(store.column("quality"), [0, 1, 2])


FILES = ["tokens.bin", "store.json", "lengths.npy", "groups.npy", "is_validation.npy", "num_bytes.npy"]


@pytest.mark.parametrize("name", [*FILES, "shared_ngrams.npy"])
@pytest.mark.parametrize("harm", ["remove", "truncate"])
def test_missing_and_truncated_files_are_named(tmp_path, name, harm):
    store_of([100, 3], tmp_path)
    if harm == "remove":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-3])
    with pytest.raises(InputError, match=rf"{name} is missing or damaged") as caught:
        TokenStore(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_column_of_another_length_is_named(tmp_path):
    store_of([100, 3], tmp_path)
    np.save(tmp_path / "groups.npy", np.arange(3))
    with pytest.raises(InputError, match="groups.npy"):
        TokenStore(tmp_path)
