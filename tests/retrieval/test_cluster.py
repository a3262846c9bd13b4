"""A Ray cluster of this machine makes the bytes that one process makes."""

import dataclasses
import importlib.util
import sys

import numpy as np
import pytest

from data.documents import Document
from data.token_store import TokenStore, write_token_store
from data.tokenizers import Tokenizer, train_tokenizer
from errors import InputError
from retrieval.keys import embed
from retrieval.keys.cluster import ShardMaker
from retrieval.keys.embed import embed_store
from retrieval.keys.shards import Shards
from tests.many_processes import start

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray, an extra, is not installed: pip install '.[ray]'"
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    texts = ["def f(x):\n    return x + 1\n" * 40, "", "the quick brown fox jumps over the lazy dog. " * 30]
    train_tokenizer(texts, style="palm", vocab_size=295, path=folder / "tokenizer.model")
    tokenizer = Tokenizer(folder / "tokenizer.model")
    documents = [Document(text, f"document {d}", "code", f"document {d}") for d, text in enumerate(texts)]
    write_token_store(folder / "store", documents, tokenizer, np.arange(3), np.zeros(3, bool))
    return TokenStore(folder / "store"), tokenizer


@needs_ray
def test_a_cluster_gives_the_bytes_of_one_process(stored, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(embed, "SHARD", 7)
    store, tokenizer = stored
    one = embed_store(tmp_path / "one", store, tokenizer, encoder)
    asked = []
    monkeypatch.setattr(
        "retrieval.keys.shards.embed_chunks", lambda *_: asked.append(1)
    )  # not in this process
    many = embed_store(tmp_path / "many", store, tokenizer, encoder, workers=1, cluster="local")
    assert len(one.paths) >= 3 and not asked
    for here, there in zip(one.paths, many.paths, strict=True):
        assert here.read_bytes() == there.read_bytes()


@needs_ray
@pytest.mark.parametrize("name", ["ActorDiedError", "NodeDiedError", "WorkerCrashedError"])
def test_a_cluster_that_loses_an_actor_says_how_to_go_on(stored, encoder, tmp_path, monkeypatch, name):
    import ray

    def lose(*_, **__):
        error = getattr(ray.exceptions, name)
        raise error() if name != "NodeDiedError" else error("a machine is gone")

    node = {"Alive": True, "Resources": {"CPU": 2}}
    for called, answer in {
        "init": None,
        "shutdown": None,
        "cluster_resources": {"CPU": 2},
        "nodes": [node],
    }.items():
        monkeypatch.setattr(ray, called, lambda *_, answer=answer, **__: answer)
    monkeypatch.setattr("ray.data.from_items", lose)
    store, tokenizer = stored
    with pytest.raises(InputError, match="'local' lost a worker or a machine .* run the same command again"):
        embed_store(tmp_path, store, tokenizer, encoder, cluster="local")


CUT_OFF = """
import os
from processes.team import last_words
stay_silent = last_words("error: the cluster is lost.")
{}
os._exit(1)
"""


@pytest.mark.parametrize("silent, said", [("", "\nerror: the cluster is lost.\n"), ("stay_silent()", "")])
def test_a_command_that_ray_ends_has_a_last_word(silent, said):
    ended = start("-c", CUT_OFF.format(silent))
    assert (ended.communicate()[1], ended.returncode) == (said, 1)


def test_an_actor_that_finds_another_encoder_says_so(stored, encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("NPROC", "2")  # which the actor sets
    monkeypatch.setenv("RAYON_NUM_THREADS", "2")
    store, tokenizer = stored
    job = dataclasses.asdict(Shards(tmp_path, store, tokenizer, encoder, 100).job())
    assert ShardMaker(job, 2)({"shard": [0]}) == {"chunks": [store.chunk_offsets[-1]], "problem": [""]}
    answer = ShardMaker(job | {"hash": "0" * 64}, 2)({"shard": [0]})
    assert answer["chunks"] == [0] and "another one here" in answer["problem"][0]


def test_without_ray_the_message_says_how_to_install_it(stored, encoder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    store, tokenizer = stored
    with pytest.raises(InputError, match=r"Ray, which is not installed .*pip install 'ray\[data\]==2.60.0'"):
        embed_store(tmp_path, store, tokenizer, encoder, cluster="local")
