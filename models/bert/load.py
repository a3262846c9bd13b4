"""Any Hugging Face BERT checkpoint as a Bert record, without torch: config.json, safetensors, wordpieces."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from errors import InputError
from models.bert.model import Bert, encoder
from models.bert.weights import CONFIG, WEIGHTS, read_config, read_params
from models.bert.wordpieces import read_tokenizer, wordpiece_encoder


def load_bert(folder: Path) -> Bert:
    """The encoder in a folder.

    Raises InputError when the checkpoint cannot be read, is not a BERT, or lacks a tensor.
    """
    config = read_config(folder / CONFIG)
    params = read_params(folder / WEIGHTS, config)
    tokenizer = read_tokenizer(folder)
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if largest >= config.vocab_size:
        raise InputError(
            f"The BERT checkpoint {folder} has {largest + 1} wordpieces, but its {CONFIG} says vocab_size "
            f"{config.vocab_size}: they do not belong together."
        )
    parts = (json.dumps(asdict(config), sort_keys=True), tokenizer.to_str())
    digest = hashlib.sha256("\n".join(parts).encode())
    digest.update((folder / WEIGHTS).read_bytes())
    return Bert(config, params, encoder(config)[1], wordpiece_encoder(tokenizer), digest.hexdigest())
