"""Workers make each piece once; one that dies or fails is named; and none outlives what started it."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from data.documents import Document
from data.token_store import TokenStore, write_token_store
from data.tokenizers import Tokenizer, train_tokenizer
from errors import InputError
from processes.workers import share_out
from retrieval.keys import embed
from retrieval.keys.embed import embed_store
from retrieval.keys.shards import FILE_NAME, Shards, open_shards
from storage.artifacts import MANIFEST
from tests.retrieval.pieces import Piece

ROOT = Path(__file__).parents[2]


def test_each_is_made_once_and_progress_is_told(tmp_path):
    counts = []
    share_out(Piece, (str(tmp_path), ""), range(7), 2, counts.append)
    assert sorted(path.name for path in tmp_path.iterdir()) == list("0123456")
    assert sorted(counts) == list(range(7))
    makers = {path.read_text() for path in tmp_path.iterdir()}
    assert str(os.getpid()) not in makers


@pytest.mark.parametrize(
    "fate, error, message",
    [
        (
            "bad input",
            InputError,
            r"Worker [12] of 2 \(process \d+\), at shard 2, .*: the folder is not there",
        ),
        ("bug", RuntimeError, r"(?s)Worker [12] of 2 .* at shard 2, failed.*ZeroDivisionError: of this test"),
        ("killed", InputError, r"Worker [12] of 2 .* at shard 2, was ended by signal 9.* same command again"),
    ],
)
def test_a_worker_that_fails_is_named_and_the_others_end(tmp_path, fate, error, message):
    with pytest.raises(error, match=message):
        share_out(Piece, (str(tmp_path), fate), range(4), 2, lambda count: None)
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = (
        "from processes.workers import share_out\nfrom tests.retrieval.pieces import Piece\n"
        f"share_out(Piece, ({str(tmp_path)!r}, 'endless'), range(2), 2, lambda count: print(flush=True))\n"
    )
    file = tmp_path / "parent.py"
    file.write_text(f"if __name__ == '__main__':\n {script.replace(chr(10), chr(10) + ' ')}")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(file)], env=environment, stdout=subprocess.PIPE)
    parent.stdout.readline()
    workers = [
        child for child in psutil.Process(parent.pid).children() if "spawn_main" in " ".join(child.cmdline())
    ]
    assert len(workers) == 2
    parent.kill()
    parent.communicate()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive


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
