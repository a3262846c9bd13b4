"""Shards of keys have the same bytes whoever makes them, and only what is missing or damaged is made again."""

import dataclasses

import numpy as np
import pytest

from data.documents import Document
from data.token_store import TokenStore, write_token_store
from data.tokenizers import Tokenizer, train_tokenizer
from errors import InputError
from retrieval.keys import embed
from retrieval.keys.embed import embed_store
from retrieval.keys.shards import FILE_NAME, Shards, open_shards
from storage.artifacts import MANIFEST


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    texts = [
        "def f(x):\n    return x + 1\n" * 40,
        "",
        "x",
        "the quick brown fox jumps over the lazy dog. " * 30,
    ]
    train_tokenizer(texts, style="palm", vocab_size=295, path=folder / "tokenizer.model")
    tokenizer = Tokenizer(folder / "tokenizer.model")
    # Alike, so that few lengths are compiled.
    texts = ["lazy dog. " * 100, "", "x"]
    documents = [Document(text, f"document {d}", "code", f"document {d}") for d, text in enumerate(texts)]
    write_token_store(folder / "store", documents, tokenizer, np.arange(3), np.zeros(3, bool))
    return TokenStore(folder / "store"), tokenizer


def test_two_workers_give_the_bytes_of_one(stored, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(embed, "SHARD", 4)
    store, tokenizer = stored
    keys = {n: embed_store(tmp_path / str(n), store, tokenizer, encoder, workers=n) for n in (1, 2)}
    assert len(keys[1].paths) >= 3 and keys[1].shape == (store.chunk_offsets[-1], 32)
    for one, two in zip(keys[1].paths, keys[2].paths, strict=True):
        assert one.parent.name == two.parent.name
        for name in (FILE_NAME, MANIFEST):
            assert (one.parent / name).read_bytes() == (two.parent / name).read_bytes()


def test_only_unfinished_and_damaged_shards_are_made_again(stored, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(embed, "SHARD", 4)
    store, tokenizer = stored
    whole = embed_store(tmp_path, store, tokenizer, encoder)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in whole.paths}
    whole.paths[0].write_bytes(b"damaged")
    again = embed_store(tmp_path, store, tokenizer, encoder, workers=2)
    assert again.paths == whole.paths
    for path, (changed, content) in before.items():
        assert path.read_bytes() == content
        assert (path.stat().st_mtime_ns == changed) == (path != whole.paths[0])


def test_an_encoder_that_has_changed_since_the_work_was_given_out(stored, encoder, tmp_path):
    store, tokenizer = stored
    job = Shards(tmp_path, store, tokenizer, encoder, 7).job()
    with pytest.raises(InputError, match="another one here .* than where the work was given out"):
        open_shards(dataclasses.replace(job, hash="0" * 64))
    with pytest.raises(InputError, match="workers 0"):
        embed_store(tmp_path, store, tokenizer, encoder, workers=0)
