"""A Hugging Face BERT checkpoint, safetensors and config.json, as parameters of models.bert.model."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import jax
import numpy as np

from errors import InputError
from models.bert.model import ACTIVATIONS, BertConfig, encoder
from models.weights import parameters, read_tensors
from storage.json_files import check, read_json

CONFIG, WEIGHTS = "config.json", "model.safetensors"
# Of whole numbers in a configuration, least and most: a damaged one could otherwise ask for any memory. The
# largest BERTs have 48 layers of 2,560.
BOUNDS = {
    "vocab_size": (1, 2**22), "hidden_size": (1, 2**15), "num_hidden_layers": (1, 512),
    "num_attention_heads": (1, 2**10), "intermediate_size": (1, 2**18), "max_position_embeddings": (4, 2**20),
    "type_vocab_size": (1, 2**10),
}  # fmt: skip
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


def read_config(path: Path) -> BertConfig:
    """The BertConfig of a Hugging Face config.json; InputError where it describes anything else."""
    values = read_record(path)
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
    for name, (least, most) in BOUNDS.items():
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise InputError(f"{path}: {name} is {value!r}; give a whole number from {least} to {most:,}.")
    eps = config.layer_norm_eps
    if not isinstance(eps, int | float) or isinstance(eps, bool) or not 0 <= eps < 1:
        raise InputError(f"{path}: layer_norm_eps is {eps!r}; give a number from 0 on, below 1.")
    if not isinstance(config.hidden_act, str) or config.hidden_act not in ACTIVATIONS:
        raise InputError(
            f"{path}: hidden_act is {config.hidden_act!r}; it must be one of {', '.join(ACTIVATIONS)}."
        )
    if config.hidden_size % config.num_attention_heads:
        raise InputError(
            f"{path}: num_attention_heads {config.num_attention_heads} do not divide hidden_size."
        )
    return config


def read_record(path: Path) -> dict[str, Any]:
    """The fields of a JSON file of a checkpoint."""
    try:
        values = read_json(path, linked=True)
        check(values, {})
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as JSON ({error}). A BERT checkpoint is a folder that holds {CONFIG}, "
            f"{WEIGHTS} and tokenizer.json or vocab.txt."
        ) from error
    return values


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

    Raises:
      InputError: tensors are missing, have a wrong shape, or nothing here reads them; the error names them.
    """
    names = tensor_names(config)
    tensors = read_tensors(path, jax.tree.leaves(names), UNUSED, canonical_name)

    def tensor(leaf: str | tuple[tuple[str, ...], ...]) -> np.ndarray:
        if isinstance(leaf, str):
            return tensors[leaf]
        return np.stack([np.concatenate([tensors[part].T for part in layer], axis=-1) for layer in leaf])

    return parameters(path, names, jax.eval_shape(encoder(config)[0], jax.random.key(0)), tensor)
