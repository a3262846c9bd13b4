"""A text in the making finds what the table holds for the same text, and says where it comes from."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from data.documents import Document
from data.token_store import TokenStore, write_token_store
from errors import InputError
from retrieval.chunks import chunk_groups, neighbour_tokens
from retrieval.database.changes import build, remove
from retrieval.database.database import Database
from retrieval.database.live import open_retriever, retriever_from, source
from retrieval.database.recipe import Recipe
from retrieval.index.index import INDEX
from retrieval.keys.encoders import bert_encoder
from retrieval.neighbours.table import NeighbourTable, build_neighbour_table, build_training_index

K = 3
TINY = str(Path(__file__).parents[1] / "models/bert/tiny")
LENGTHS = [300, 150, 1, 400, 130, 64, 200]
HELD_OUT = [False, False, False, False, False, True, True]


@pytest.fixture(scope="module")
def stored(make_store, tokenizer, encoder, tmp_path_factory):
    root = tmp_path_factory.mktemp("live")
    store = make_store(root / "store", LENGTHS, is_validation=HELD_OUT)
    table = NeighbourTable(build_neighbour_table(root, store, tokenizer, encoder, K), store)
    return store, table, build_training_index(root, store, tokenizer, encoder) / INDEX


def test_a_chunk_of_the_store_finds_itself_and_then_what_the_table_holds_for_it(stored, tokenizer, encoder):
    store, table, index = stored
    retriever = open_retriever(index, store, tokenizer, encoder, 10)
    chunks = np.arange(store.chunk_offsets[-1])
    retrieved = retriever(store.chunk_tokens(chunks))
    for chunk, ids, distances in zip(chunks, retrieved.ids, retrieved.distances, strict=True):
        own = chunk_groups(store, ids) == chunk_groups(store, chunk)
        if not store.is_validation[store.chunk_documents(chunk)]:
            assert ids[0] == chunk and distances[0] < 1e-6
        else:
            assert not own.any(), "the index holds a held-out chunk"
        others = ids[~own][:K]
        np.testing.assert_array_equal(others, table.ids[chunk, : len(others)])
        np.testing.assert_allclose(distances[~own][:K], table.distances[chunk, : len(others)], atol=1e-4)


def test_of_equal_distances_it_takes_those_that_the_table_takes(make_store, tokenizer, encoder, tmp_path):
    """Every training document stands there five times, as documents of their own, and once held out."""
    lengths, copies = [130, 190, 64], 6
    root, pieces = (
        tmp_path,
        [make_store(tmp_path / str(n), [length], seed=n) for n, length in enumerate(lengths)],
    )
    texts = [tokenizer.decode(piece.document_tokens(0)) for piece in pieces]
    documents = [Document(text, f"{n}", "code", f"{n}") for n, text in enumerate(texts * copies)]
    held_out = np.arange(len(documents)) < len(lengths)
    write_token_store(root / "store", documents, tokenizer, np.arange(len(documents)), held_out)
    store = TokenStore(root / "store")
    table = NeighbourTable(build_neighbour_table(root, store, tokenizer, encoder, K), store)
    index = build_training_index(root, store, tokenizer, encoder) / INDEX
    chunks = np.arange(store.num_chunks[held_out].sum())
    retrieved = open_retriever(index, store, tokenizer, encoder, K)(store.chunk_tokens(chunks))
    assert (table.distances[chunks, :K] < 1e-6).all(), "the example has no equal distances any more"
    np.testing.assert_array_equal(retrieved.ids, table.ids[chunks, :K])


def test_what_a_model_reads_is_the_neighbour_and_its_continuation(stored, tokenizer, encoder):
    store, _, index = stored
    retrieved = open_retriever(index, store, tokenizer, encoder, K)(store.chunk_tokens(np.array([0, 9])))
    tokens, mask = neighbour_tokens(store, retrieved.ids)
    assert retrieved.tokens.shape == retrieved.mask.shape == (2, K, 128)
    np.testing.assert_array_equal(retrieved.tokens, tokens)
    np.testing.assert_array_equal(retrieved.mask, mask)


def test_what_one_list_lacks_the_others_give(stored, tokenizer, encoder, tmp_path):
    """One of two lists is searched first, which holds fewer chunks than are asked for."""
    store, _, _ = stored
    index = build_training_index(tmp_path, store, tokenizer, encoder, "IVF2,Flat") / INDEX
    retriever = open_retriever(index, store, tokenizer, encoder, 16)
    faiss.extract_index_ivf(retriever.find.args[0]).nprobe = 1
    retrieved = retriever(store.chunk_tokens(np.arange(6)))
    assert (retrieved.ids >= 0).all() and np.isfinite(retrieved.distances).all()
    assert retrieved.mask.any(axis=-1).all()


def test_a_source_names_the_document_and_the_chunk_within_it(stored, tokenizer):
    store, _, _ = stored
    first = int(store.chunk_offsets[3])
    origin = source(store, tokenizer, first + 2, 0.5)
    words = tokenizer.decode(store.document_tokens(3)).split()
    assert (origin["source"], origin["domain"], origin["chunk"], origin["distance"]) == (
        "document 3",
        "code",
        2,
        0.5,
    )
    assert origin["text"].split() == words[127:191]  # bos is a token too
    assert origin["continuation"].split() == words[191:255]
    last = int(store.chunk_offsets[4]) - 1
    assert source(store, tokenizer, last, 0.5)["continuation"] == ""


@pytest.mark.parametrize("k", [0, -1, 10_000])
def test_k_beyond_what_the_index_holds(stored, tokenizer, encoder, k):
    store, _, index = stored
    with pytest.raises(InputError, match=rf"{k} neighbours were asked for, but .* holds 19 chunks"):
        open_retriever(index, store, tokenizer, encoder, k)


def test_an_index_of_something_else(stored, make_store, tokenizer, encoder, tmp_path):
    store, _, index = stored
    other = make_store(tmp_path / "other", LENGTHS, is_validation=HELD_OUT, seed=1)
    with pytest.raises(InputError, match="another token store"):
        open_retriever(index, other, tokenizer, encoder, K)
    with pytest.raises(InputError, match=r"another encoder \(bert\)"):
        open_retriever(index, store, tokenizer, bert_encoder(None), K)


def test_no_index(stored, tokenizer, encoder, tmp_path):
    store, _, _ = stored
    with pytest.raises(InputError, match=f"no index at {tmp_path}.* Run the command"):
        open_retriever(tmp_path / INDEX, store, tokenizer, encoder, K)


def test_a_database_answers_as_its_own_search_does_and_for_its_tokenizer_alone(tmp_path, tokenizer):
    folder = tmp_path / "database"
    notes = [Document(f"{word} " * 150, word, "docs", word) for word in ("ab", "cd", "ef")]
    build(folder, notes, Recipe(vocab_size=300, encoder=TINY))
    remove(folder, ["cd"])
    database = Database(folder)
    chunks_bm = database.documents.chunk_tokens(np.array([0, 1]))
    retrieved = retriever_from(database, database.tokenizer, 2)(chunks_bm)
    np.testing.assert_array_equal(retrieved.ids, database.search(database.keys[[0, 1]], 2)[1])
    np.testing.assert_array_equal(retrieved.ids[:, 0], [0, 1])
    with pytest.raises(InputError, match="another tokenizer than the model"):
        retriever_from(database, tokenizer, 2)
    held = len(database.keys) - len(database.removed_chunks)
    with pytest.raises(InputError, match=f"holds {held} chunks"):
        retriever_from(database, database.tokenizer, held + 1)
