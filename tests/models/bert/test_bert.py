"""The BERT encoder equals transformers' BertModel, and the loader refuses what it cannot read by name."""

import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from errors import InputError
from models.bert.load import load_bert
from retrieval.keys.bert import mean_over_time
from retrieval.keys.bert_checkpoint import checkpoint_folder

HERE = Path(__file__).parent
TOLERANCE = 1e-5  # absolute, on hidden states of order one


@pytest.fixture
def tiny(tmp_path):
    """A copy of the tiny checkpoint that a test may damage."""
    return Path(shutil.copytree(HERE / "tiny", tmp_path / "tiny"))


def edit_config(folder: Path, **changes):
    values = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


def edit_tensors(folder: Path, edit):
    save_file(edit(load_file(folder / "model.safetensors")), folder / "model.safetensors")


@pytest.mark.parametrize("name, checkpoint", [("minilm", None), ("tiny", str(HERE / "tiny"))])
def test_hidden_states_equal_the_reference(name, checkpoint):
    golden = np.load(HERE / f"golden_{name}.npz", allow_pickle=False)
    bert = load_bert(checkpoint_folder(checkpoint))
    ids, mask = golden["ids"], golden["mask"]
    wordpieces = bert.encode([str(text) for text in golden["texts"]], 128)
    for ours, theirs, real in zip(wordpieces, ids, mask, strict=True):
        assert ours == list(theirs[real]), "wordpieces differ from the reference: look at read_tokenizer"
    hidden = jax.jit(bert.apply)(bert.params, ids, mask)
    positions = golden["positions"]
    np.testing.assert_allclose(
        hidden[:, positions][mask[:, positions]],
        golden["hidden"][mask[:, positions]],
        rtol=0,
        atol=TOLERANCE,
        err_msg="hidden states differ from transformers' BertModel: the encoder no longer computes BERT",
    )
    np.testing.assert_allclose(mean_over_time(hidden, mask), golden["mean"], rtol=0, atol=TOLERANCE)


def test_padding_changes_nothing():
    bert = load_bert(HERE / "tiny")
    ids = np.arange(5, 17, dtype=np.int32).reshape(2, 6)
    mask = np.array([[1] * 6, [1] * 4 + [0] * 2], bool)
    wide_ids = np.pad(ids, ((0, 1), (0, 5)), constant_values=9)
    wide_mask = np.pad(mask, ((0, 1), (0, 5)))
    apply = jax.jit(bert.apply)
    narrow = mean_over_time(apply(bert.params, ids, mask), mask)
    wide = mean_over_time(apply(bert.params, wide_ids, wide_mask), wide_mask)
    np.testing.assert_allclose(wide[:2], narrow, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(wide[2], 0)  # padding throughout: zeros, not NaN


def test_prefixed_tensorflow_names_and_heads_are_read(tiny):
    def rename(tensors):
        old = {
            name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): v
            for name, v in tensors.items()
        }
        return {f"bert.{name}": v for name, v in old.items()} | {
            "cls.predictions.bias": np.zeros(3, np.float32)
        }

    plain = load_bert(tiny)
    edit_tensors(tiny, rename)
    jax.tree.map(np.testing.assert_array_equal, load_bert(tiny).params, plain.params)


def test_case_is_kept_when_the_checkpoint_says_so(tiny):
    assert load_bert(tiny).encode(["DEF"], 8) == load_bert(tiny).encode(["def"], 8)
    (tiny / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    cased = load_bert(tiny)
    assert cased.encode(["DEF"], 8) != cased.encode(["def"], 8)


def test_hash_follows_weights_configuration_and_wordpieces(tiny):
    hashes = [load_bert(tiny).hash, load_bert(tiny).hash]
    assert hashes[0] == hashes[1]
    edit_tensors(tiny, lambda tensors: {name: value + 1 for name, value in tensors.items()})
    hashes.append(load_bert(tiny).hash)
    edit_config(tiny, hidden_act="relu")
    hashes.append(load_bert(tiny).hash)
    (tiny / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    hashes.append(load_bert(tiny).hash)
    assert len(set(hashes[1:])) == 4


def without(name):
    return lambda folder: edit_tensors(
        folder, lambda tensors: {k: v for k, v in tensors.items() if k != name}
    )


def without_piece(folder, piece):
    path = folder / "vocab.txt"
    path.write_text(path.read_text().replace(f"{piece}\n", ""))


def replaced(path):
    path.unlink()
    return path


@pytest.mark.parametrize(
    "damage, message",
    [
        (
            without("encoder.layer.1.output.dense.bias"),
            r"lacks 1 tensors.*encoder\.layer\.1\.output\.dense\.bias",
        ),
        (
            lambda f: edit_tensors(f, lambda t: t | {"adapter.weight": np.zeros(2)}),
            r"no place for: adapter\.weight",
        ),
        (lambda f: edit_config(f, num_hidden_layers=1), r"no place for: encoder\.layer\.1"),
        (lambda f: edit_config(f, intermediate_size=48), r"asks for \(2, 32, 48\)|asks for \(2, 48\)"),
        (lambda f: edit_config(f, model_type="roberta"), "model_type is 'roberta'"),
        (lambda f: edit_config(f, hidden_size=None), "lacks a field.*hidden_size"),
        (lambda f: edit_config(f, hidden_act="swish"), "hidden_act is 'swish'"),
        (lambda f: edit_config(f, num_attention_heads=5), "num_attention_heads 5 do not divide"),
        (lambda f: (f / "vocab.txt").open("a").write("one\nmore\n"), "wordpieces, but its config.json says"),
        (lambda f: edit_config(f, position_embedding_type="relative_key"), "position_embedding_type"),
        (lambda f: (f / "config.json").unlink(), "config.json cannot be read"),
        (lambda f: (f / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors cannot be read"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x01" * 99), "model.safetensors cannot be read"),
        (lambda f: (f / "vocab.txt").unlink(), "neither tokenizer.json nor vocab.txt"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json cannot be read"),
        (lambda f: os.mkfifo(replaced(f / "config.json")), "config.json cannot be read.*a pipe"),
        (
            lambda f: edit_config(f, num_hidden_layers=5000),
            "num_hidden_layers is 5000; give .* to 512",
        ),
        (lambda f: edit_config(f, hidden_size=10**30), "hidden_size is 10+; give a whole number"),
        (
            lambda f: edit_config(f, num_attention_heads=0),
            "num_attention_heads is 0; give a whole number from 1",
        ),
        (lambda f: edit_config(f, vocab_size="30"), "vocab_size is '30'; give a whole number"),
        (lambda f: edit_config(f, layer_norm_eps="x"), "layer_norm_eps is 'x'; give a number"),
        (lambda f: edit_config(f, hidden_act=[]), r"hidden_act is \[\]; it must be one of"),
        (lambda f: edit_config(f, max_position_embeddings=1), "max_position_embeddings is 1; give"),
        (lambda f: (f / "tokenizer_config.json").write_text("[]"), "tokenizer_config.json cannot be read"),
        (
            lambda f: (f / "tokenizer_config.json").write_text('{"do_lower_case": "x"}'),
            "do_lower_case is 'x'",
        ),
        (
            lambda f: (f / "tokenizer.json").write_text('{"version": "1.0",'),
            "tokenizer.json holds no wordpieces",
        ),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer.json holds no wordpieces"),
        (lambda f: os.mkfifo(f / "tokenizer.json"), "tokenizer.json holds no wordpieces.*a pipe"),
        (lambda f: without_piece(f, "[UNK]"), "vocab.txt holds no wordpieces.*needs .UNK., .CLS. and .SEP."),
        (lambda f: without_piece(f, "[SEP]"), "vocab.txt holds no wordpieces"),
        (lambda f: (f / "vocab.txt").write_text(""), "vocab.txt holds no wordpieces"),
        (lambda f: os.mkfifo(replaced(f / "model.safetensors")), "model.safetensors cannot be read.*a pipe"),
        (
            lambda f: edit_tensors(f, lambda t: {k: v.astype(np.int8) for k, v in t.items()}),
            "holds int8, and floats",
        ),
        (
            lambda f: edit_tensors(f, lambda t: {k: v * np.nan for k, v in t.items()}),
            "holds what is no number",
        ),
        (
            lambda f: (
                replaced(f / "model.safetensors").with_name("model.safetensors.index.json").write_text("{}")
            ),
            "cut into several files .model.safetensors.index.json., and one is read",
        ),
    ],
)
def test_bad_checkpoints_are_named(tiny, damage, message):
    damage(tiny)
    with pytest.raises(InputError, match=message):
        load_bert(tiny)


def test_weights_of_half_precision_are_read(tiny):
    plain = load_bert(tiny).params
    edit_tensors(tiny, lambda tensors: {name: value.astype(np.float16) for name, value in tensors.items()})
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5), load_bert(tiny).params, plain
    )
