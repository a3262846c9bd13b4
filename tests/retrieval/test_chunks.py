"""[N, F] is the chunk and its continuation, and never another document's text."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retrieval.chunks import chunk_text, neighbour_tokens, store_hash


@given(lengths=st.lists(st.integers(0, 200), min_size=1, max_size=6))
def test_continuation_never_crosses_the_document(make_store, tokenizer, lengths):
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder), lengths)
        for document in range(store.num_documents):
            text = store.document_tokens(document)
            for chunk in range(store.num_chunks[document]):
                tokens, mask = neighbour_tokens(store, store.chunk_offsets[document] + chunk)
                expected = text[64 * chunk : 64 * chunk + 128]
                assert list(tokens[mask]) == list(expected)
                assert mask[: len(expected)].all() and not mask[len(expected) :].any()
                assert (tokens[~mask] == store.pad_id).all()


def test_a_missing_neighbour_is_masked_all_over(make_store, tmp_path):
    store = make_store(tmp_path, [70, 3])
    tokens, mask = neighbour_tokens(store, np.array([[-1, 0], [2, -1]]))
    assert tokens.shape == mask.shape == (2, 2, 128)
    assert mask.any(axis=-1).tolist() == [[False, True], [True, False]]


def test_chunk_text_is_the_documents_words_without_special_tokens(make_store, tokenizer, tmp_path):
    store = make_store(tmp_path, [130, 0])
    pieces = [chunk_text(store, tokenizer, chunk) for chunk in range(3)]
    assert " ".join(pieces).split() == tokenizer.decode(store.document_tokens(0)).split()
    assert chunk_text(store, tokenizer, 3) == ""


def test_store_hash_follows_tokens_groups_and_sides(make_store, tmp_path):
    same = dict(lengths=[70, 3], groups=[0, 1], is_validation=[False, True])
    changes = [
        {},
        {},
        {"seed": 1},
        {"lengths": [70, 4]},
        {"groups": [0, 0]},
        {"is_validation": [False, False]},
    ]
    hashes = [store_hash(make_store(tmp_path / str(i), **(same | c))) for i, c in enumerate(changes)]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 5
