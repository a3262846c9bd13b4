"""A chunk's key depends on its text alone, and a killed run keeps its finished shards."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from models.bert.load import load_bert
from retrieval.chunks import chunk_text
from retrieval.keys import bert as bert_keys
from retrieval.keys import embed
from retrieval.keys.bert import embedder, mean_over_time
from retrieval.keys.embed import embed_store
from retrieval.keys.encoders import LOOKED_AT, KeyEncoder, cut_sentence, cut_share, no_progress, none_is_cut
from retrieval.keys.shards import embed_chunks

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


@pytest.fixture(scope="module")
def tiny_bert(encoder):
    return load_bert(Path(encoder.spec["checkpoint"]))


def test_a_key_is_the_mean_over_unpadded_wordpieces(encoder, tiny_bert):
    texts, apply = ["ab cd ef", "", "gh " * 500], jax.jit(tiny_bert.apply)
    for text, key in zip(texts, encoder.encode(texts), strict=True):
        ids = np.array(tiny_bert.encode([text], bert_keys.MAX_WORDPIECES))
        mask = np.ones(ids.shape, bool)
        expected = mean_over_time(apply(tiny_bert.params, ids, mask), mask)[0]
        np.testing.assert_allclose(key, expected, rtol=0, atol=TOLERANCE)


def test_texts_of_more_wordpieces_than_are_read_are_cut(encoder, tiny_bert):
    texts = [f"{'ab ' * number}{last}" for number in range(150) for last in ("cd", "a")] + [
        "",
        "\u6570" * 500,
    ]
    lengths = np.array([len(tiny_bert.encode([text], 10**6)[0]) for text in texts])
    most = min(bert_keys.MAX_WORDPIECES, tiny_bert.config.max_position_embeddings)
    np.testing.assert_array_equal(encoder.are_cut(texts), lengths > most)
    assert most in lengths and most + 1 in lengths, "the edge is not among them any more"
    assert encoder.are_cut([]).shape == (0,)


def test_the_share_of_chunks_that_are_cut(make_store, tokenizer, tmp_path):
    """By some of them where there are many."""
    store = make_store(tmp_path, [640, 300, 64 * 1200])
    cut = {number for number in range(int(store.chunk_offsets[-1])) if number % 4 == 0}
    texts = {
        chunk_text(store, tokenizer, chunk): chunk in cut for chunk in range(int(store.chunk_offsets[-1]))
    }
    looked_at = []

    def are_cut(some):
        looked_at.append(len(some))
        return np.array([texts[text] for text in some])

    encoder = KeyEncoder("some", "some", {}, 1, lambda texts, progress: None, {}, are_cut)
    assert cut_share(store, tokenizer, encoder) == pytest.approx(0.25, abs=0.05)
    assert looked_at == [LOOKED_AT]
    assert cut_share(store, tokenizer, dataclasses.replace(encoder, are_cut=none_is_cut)) == 0
    assert cut_sentence(0.049) == "" and cut_sentence(0.84).startswith(
        "84% of the chunks have more wordpieces"
    )


@pytest.mark.parametrize("positions", [29, 30, 31, 32])
def test_a_model_of_few_positions_is_not_asked_for_more(encoder, tmp_path, positions):
    """Padding to a multiple of four ends where its positions do."""
    folder = Path(shutil.copytree(encoder.spec["checkpoint"], tmp_path / "few"))
    config = json.loads((folder / "config.json").read_text()) | {"max_position_embeddings": positions}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    (name,) = (name for name in tensors if name.endswith("position_embeddings.weight"))
    save_file(tensors | {name: tensors[name][:positions].copy()}, folder / "model.safetensors")
    bert, texts = load_bert(folder), ["ab " * 500, "cd"]
    for text, key in zip(texts, embedder(bert)(texts, no_progress), strict=True):
        ids = np.array(bert.encode([text], positions))
        mask = np.ones(ids.shape, bool)
        expected = mean_over_time(jax.jit(bert.apply)(bert.params, ids, mask), mask)[0]
        np.testing.assert_allclose(key, expected, rtol=0, atol=TOLERANCE)


@settings(max_examples=8)
@given(
    lengths=st.lists(st.sampled_from([0, 1, 2, 5, 126, 127, 128, 400]) | st.integers(0, 6), max_size=9),
    seed=st.integers(0, 2**16),
)
def test_padding_and_company_change_nothing(few_rows, lengths, seed):
    """Batches of at most two rows: every text shares its batch with others in every order."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(list("abcdef"), length)) for length in lengths]
    order = rng.permutation(len(texts))
    keys = few_rows(texts, no_progress)
    assert keys.shape == (len(texts), 32) and np.isfinite(keys).all()
    shuffled = few_rows([texts[i] for i in order], no_progress)
    np.testing.assert_allclose(shuffled, keys[order], rtol=0, atol=TOLERANCE)


@pytest.fixture(scope="module")
def few_rows(tiny_bert):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bert_keys, "ROWS", {"cpu": 2})
        return embedder(tiny_bert, jax.devices()[:1])


def test_the_devices_of_a_mesh_give_the_keys_of_one(tiny_bert):
    texts = [" ".join("abc"[i % 3] * (i % 3)) for i in range(45)]  # not a multiple of the devices
    devices = jax.devices()
    assert len(devices) == 8
    of_one, of_three, of_all = (embedder(tiny_bert, devices[:n])(texts, no_progress) for n in (1, 3, 8))
    np.testing.assert_allclose(of_three, of_one, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(of_all, of_one, rtol=0, atol=TOLERANCE)


def test_batches_at_once_change_no_bit(tiny_bert, monkeypatch):
    monkeypatch.setattr(bert_keys, "ROWS", {"cpu": 4})
    texts = [" ".join("abc"[i % 3] * (10 * (i % 2))) for i in range(50)]
    of_one, of_five = (embedder(tiny_bert, jax.devices()[:1], n)(texts, no_progress) for n in (1, 5))
    np.testing.assert_array_equal(of_five, of_one)


def test_progress_counts_every_text_once(encoder):
    counts = []
    encoder.encode(["ab"] * 41, counts.append)
    assert sum(counts) == 41
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
    monkeypatch.setattr("retrieval.keys.shards.embed_chunks", dies_on_the_third)
    with pytest.raises(KeyboardInterrupt):
        embed_store(root, store, tokenizer, encoder)
    rest = []

    def counts(store, tokenizer, encoder, chunks, progress):
        rest.append(chunks)
        return embed_chunks(store, tokenizer, encoder, chunks, progress)

    monkeypatch.setattr("retrieval.keys.shards.embed_chunks", counts)
    np.testing.assert_array_equal(embed_store(root, store, tokenizer, encoder)[:], whole[:])
    assert np.concatenate(rest).tolist() == [8, 9, 10]
    assert whole.shape == (11, 32)
