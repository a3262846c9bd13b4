"""A chunk's key depends on its text alone, and a killed run keeps its finished shards."""

import jax
import numpy as np
import pytest

from models.bert.load import load_bert
from models.bert.model import mean_over_time
from retrieval import bert_keys, embed
from retrieval.embed import embed_chunks, embed_store

TOLERANCE = 1e-5  # absolute, on keys of order one


def test_a_key_does_not_depend_on_its_batch(make_store, tokenizer, encoder, tmp_path):
    store = make_store(tmp_path, [700, 5, 1, 64, 0, 300, 62])
    chunks = np.arange(store.chunk_offsets[-1])
    together = embed_chunks(store, tokenizer, encoder, chunks)
    assert together.shape == (len(chunks), 32) and together.dtype == np.float32
    shuffled = np.random.default_rng(0).permutation(chunks)
    np.testing.assert_allclose(
        embed_chunks(store, tokenizer, encoder, shuffled), together[shuffled], rtol=0, atol=TOLERANCE
    )
    alone = np.concatenate([embed_chunks(store, tokenizer, encoder, chunks[i : i + 1]) for i in (0, 11, 13)])
    np.testing.assert_allclose(alone, together[[0, 11, 13]], rtol=0, atol=TOLERANCE)


def test_a_key_is_the_mean_over_unpadded_wordpieces(encoder):
    tiny_bert = load_bert(encoder.spec["checkpoint"])
    texts, apply = ["ab cd ef", "", "gh " * 500], jax.jit(tiny_bert.apply)
    for text, key in zip(texts, encoder.encode(texts), strict=True):
        ids = np.array(tiny_bert.encode([text], bert_keys.MAX_WORDPIECES))
        mask = np.ones(ids.shape, bool)
        expected = mean_over_time(apply(tiny_bert.params, ids, mask), mask)[0]
        np.testing.assert_allclose(key, expected, rtol=0, atol=TOLERANCE)


def test_progress_counts_every_text_once(encoder):
    counts = []
    encoder.encode(["ab"] * 41, counts.append)
    assert sum(counts) == 41 and max(counts) <= bert_keys.ROWS
    assert encoder.encode([]).shape == (0, 32)


def test_a_killed_run_redoes_only_unfinished_shards(make_store, tokenizer, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(embed, "SHARD", 4)
    store = make_store(tmp_path / "store", [700])
    whole = embed_store(tmp_path / "undisturbed", store, tokenizer, encoder)
    embedded = []

    def dies_on_the_third(store, tokenizer, encoder, chunks, progress):
        if len(embedded) == 2:
            raise KeyboardInterrupt
        embedded.append(chunks)
        return embed_chunks(store, tokenizer, encoder, chunks, progress)

    root = tmp_path / "killed"
    monkeypatch.setattr(embed, "embed_chunks", dies_on_the_third)
    with pytest.raises(KeyboardInterrupt):
        embed_store(root, store, tokenizer, encoder)
    rest = []

    def counts(store, tokenizer, encoder, chunks, progress):
        rest.append(chunks)
        return embed_chunks(store, tokenizer, encoder, chunks, progress)

    monkeypatch.setattr(embed, "embed_chunks", counts)
    np.testing.assert_array_equal(embed_store(root, store, tokenizer, encoder)[:], whole[:])
    assert np.concatenate(rest).tolist() == [8, 9, 10]
    assert whole.shape == (11, 32)
