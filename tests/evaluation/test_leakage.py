"""Chunks share out a document's bytes and losses exactly, and r(C) is what was copied."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import data.tokenizers
from data.batches import evaluation_batches
from data.documents import Document
from data.token_store import CHUNK, TokenStore, write_token_store
from data.tokenizers import STYLES, Tokenizer, train_tokenizer
from evaluation.bits_per_byte import document_nats
from evaluation.leakage import ALPHAS, NEIGHBOURS, HeldOutChunks, chunk_nats, held_out_chunks, per_document
from retrieval.chunks import store_hash
from retrieval.neighbours.table import NeighbourTable
from storage.artifacts import artifact

LENGTH = 2 * CHUNK


class Letters:
    """One id per letter; é has two bytes, and ø is a letter that its normalisation deletes."""

    letters = "abcdeéø"
    pad_id, unk_id, bos_id, eos_id = range(4)
    vocab_size = 4 + len(letters)
    num_bytes = np.array([0] * 4 + [1] * 5 + [2, 0])

    def encode(self, text):
        return np.array([4 + self.letters.index(letter) for letter in text], np.int32)


def store_of(folder, texts, is_validation, tokenizer=Letters(), domain=lambda i: "docs"):  # noqa: B008 (no state)
    documents = [Document(text, str(i), domain(i), str(i)) for i, text in enumerate(texts)]
    write_token_store(folder, documents, tokenizer, np.arange(len(texts)), np.array(is_validation))
    return TokenStore(folder)


def table_of(root, store, neighbours):
    """A table in which each chunk of `neighbours` {chunk: ids} has these, and all others none."""
    ids = np.full([store.num_chunks.sum(), NEIGHBOURS], -1)
    for chunk, found in neighbours.items():
        ids[chunk, : len(found)] = found

    def build(folder):
        np.save(folder / "ids.npy", ids)
        np.save(folder / "distances.npy", np.zeros(ids.shape, np.float32))

    return NeighbourTable(artifact(root, "neighbours", {"store": store_hash(store)}, build), store)


def evaluated(store, rng=None):
    """(chunks [S, U], documents [S, T], random losses [S, T] that are zero where nothing is predicted)."""
    batches = list(evaluation_batches(store, 2, LENGTH))
    chunks_su = np.concatenate([batch.chunks for batch, _ in batches])
    documents_st = np.concatenate([documents for _, documents in batches])
    weights_st = np.concatenate([batch.weights for batch, _ in batches])
    rng = rng or np.random.default_rng(0)
    return chunks_su, documents_st, (rng.random(weights_st.shape) * weights_st).astype(np.float32)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 200), st.booleans()), min_size=1, max_size=5), st.integers(0, 9))
@example([(62, True), (63, True), (64, True), (126, True), (127, False), (0, True), (1, True)], 0)
def test_chunks_share_out_the_bytes_and_losses_of_their_documents(shapes, seed):
    rng = np.random.default_rng(seed)
    texts = ["".join(rng.choice(list(Letters.letters), length)) for length, _ in shapes] + ["ab" * 200, ""]
    sides = [held_out for _, held_out in shapes] + [True, True]
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(Path(folder) / "store", texts, sides)
        chunks_su, documents_st, nats_st = evaluated(store, rng)
        chunks = held_out_chunks(table_of(Path(folder), store, {}), Letters(), chunks_su)
        nats_n = chunk_nats(chunks, store, nats_st, chunks_su)
        documents = np.flatnonzero(store.is_validation)
        all_n = chunks.at_most(1.0)
        assert all_n.all() and not chunks.runs.any()
        np.testing.assert_allclose(
            per_document(chunks, chunks.num_bytes, all_n, documents), store.num_bytes[documents]
        )
        whole = document_nats(nats_st, documents_st, store.num_documents)[documents]
        np.testing.assert_allclose(per_document(chunks, nats_n, all_n, documents), whole)
        # The loss of every predicted token, asked for by its place in its document.
        for chunk, nats in zip(chunks.ids, nats_n):
            document = store.chunk_documents(chunk)
            first = (chunk - store.chunk_offsets[document]) * CHUNK
            own = nats_st[documents_st == document]
            is_last = chunk == chunks.ids[chunks.documents == document][-1]
            last = len(own) if is_last else first + CHUNK - 1
            np.testing.assert_allclose(nats, own[max(first - 1, 0) : last].sum(dtype=np.float64))


def test_a_copy_an_edit_a_continuation_and_nothing(tmp_path):
    rng = np.random.default_rng(1)
    held_out = "".join(rng.choice(list("abcde"), 5 * CHUNK - 1))  # bos stands before it
    edited = held_out[2 * CHUNK - 1 :][:10] + "éé" + held_out[2 * CHUNK - 1 :][12:30]
    before = "é" * (CHUNK - 1) + held_out[3 * CHUNK - 1 :][: CHUNK + 9]
    store = store_of(tmp_path / "store", [held_out, held_out, edited, before], [True, False, False, False])
    copy, edit, continued = store.chunk_offsets[1:4]
    found = {0: [copy], 1: [edit, copy + 1], 2: [edit], 3: [continued], 4: []}
    chunks_su, _, _ = evaluated(store)
    chunks = held_out_chunks(table_of(tmp_path, store, found), Letters(), chunks_su)
    assert chunks.ids.tolist() == [0, 1, 2, 3, 4] and chunks.neighbours == NEIGHBOURS
    # Of the first chunk bos is no text; the edit leaves 18 after the change; all of a continuation counts.
    assert chunks.runs.tolist() == [63, 64, 18, 64, 0]
    kept = [chunks.ids[chunks.at_most(alpha)].tolist() for alpha in ALPHAS]
    assert kept == [[4], [4], [2, 4], [2, 4], [2, 4], [2, 4], [2, 4], [0, 1, 2, 3, 4]]


def test_alpha_is_inclusive():
    runs = np.array([0, 8, 9, 63, 64])
    chunks = HeldOutChunks(np.arange(5), np.zeros(5, int), np.ones(5), runs, NEIGHBOURS)
    assert [int(chunks.at_most(alpha).sum()) for alpha in (1 / 8, 1 / 4, 7 / 8, 1)] == [2, 3, 3, 5]


@pytest.mark.parametrize("style", STYLES)
def test_bytes_add_up_where_a_character_is_cut_in_two(tmp_path, style):
    """Characters without a piece of their own are up to four byte tokens, so that chunk ends fall inside
    them; NFKC changes how many bytes a text has.
    """
    code = [Path(data.tokenizers.__file__).read_text()]
    train_tokenizer(code, style=style, vocab_size=400, path=tmp_path / "model")
    tokenizer = Tokenizer(tmp_path / "model")
    texts = ["\U0001f600é" * 150, "ﬁ\u2167 x " * 60, "plain words " * 40]
    store = store_of(tmp_path / "store", texts, [True, True, False], tokenizer)
    chunks_su, _, _ = evaluated(store)
    chunks = held_out_chunks(table_of(tmp_path, store, {}), tokenizer, chunks_su)
    sums = per_document(chunks, chunks.num_bytes, chunks.at_most(1), np.array([0, 1]))
    np.testing.assert_allclose(sums, [len(text.encode()) for text in texts[:2]], rtol=1e-12)
    if style == "palm":
        assert (chunks.num_bytes % 1 == 0).all() and (chunks.num_bytes[chunks.documents == 0] % 6).any()
