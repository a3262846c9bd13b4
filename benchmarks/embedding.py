"""Keys of chunks by a frozen BERT: ours against sentence-transformers, and against the machine's products."""

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pairs import SPREAD, alternate, speed_ratio
from data.corpora import load_corpus
from data.token_store import CHUNK
from data.tokenizers import Tokenizer, train_tokenizer
from retrieval.keys.bert_checkpoint import checkpoint_folder

TEXTS, VOCABULARY = 512, 4096
OURS, PEER, PEER_OUR_ALLOCATOR = "ours", "sentence-transformers", "sentence-transformers, our allocator"
# Both normalise what they give here; rounding is all they may differ by.
TOLERANCE = 1e-5


def embedding(repeats: int) -> dict[str, Any]:
    """Chunks of the standard library to keys with MiniLM, text in and keys out, chunks/s."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.json"
        path.write_text(json.dumps(texts(Path(folder))))
        job = {"job": "embed", "folder": str(checkpoint_folder(None)), "texts": str(path)}
        jobs = {
            OURS: ("ours", job),
            PEER: ("peers", {**job, "keep_memory": False}),
            PEER_OUR_ALLOCATOR: ("peers", {**job, "keep_memory": True}),
            "products": ("ours", {"job": "matrix-product"}),
        }
        seconds, facts = alternate(jobs, repeats)
    first_keys = {name: facts[name].pop("first_key") for name in (OURS, PEER, PEER_OUR_ALLOCATOR)}
    difference = max(np.abs(np.subtract(key, first_keys[OURS])).max() for key in first_keys.values())
    if difference > TOLERANCE:
        raise RuntimeError(f"ours and sentence-transformers differ by {difference}: not the same work")
    peak = facts["products"]["flops"] / statistics.median(seconds["products"])
    rows = []
    for name in first_keys:
        ratio = speed_ratio(seconds[name], seconds[PEER])
        rate = facts[OURS]["flops"] / statistics.median(seconds[name])
        rows.append(
            {
                "encoder": name,
                "chunks/s": TEXTS / statistics.median(seconds[name]),
                "ratio": ratio["ratio"],
                "spread": f"[{ratio['paired_low']:.2f}, {ratio['paired_high']:.2f}]",
                "GFLOP/s": rate / 1e9,
                "fraction of peak": rate / peak,
            }
        )
    return {
        "setting": {
            "texts": TEXTS,
            "wordpieces_per_text": facts[OURS]["wordpieces"] / TEXTS,
            "largest_difference": float(difference),
            "peak_gflops": peak / 1e9,
        },
        "convention": "float32, texts of 64 tokens, wordpieces included; FLOPs of unpadded wordpieces alone: "
        "two per parameter of a dense layer that one meets, and the two products of attention over the "
        "text's own length; peak = median rate of products of 2048 × 2048 matrices, interleaved; " + SPREAD,
        "rows": rows,
        "raw": {"seconds": seconds, "facts": facts},
    }


def texts(folder: Path) -> list[str]:
    """TEXTS chunks from all over the standard library, decoded by a tokenizer that was trained on it."""
    documents = [document.text for document in load_corpus("stdlib").documents]
    train_tokenizer(documents, style="palm", vocab_size=VOCABULARY, path=folder / "tokenizer.model")
    tokenizer = Tokenizer(folder / "tokenizer.model")
    random = np.random.default_rng(0)
    chunks = []
    for document in random.permutation(len(documents)):
        ids = tokenizer.encode(documents[document])
        chunks += [tokenizer.decode(ids[at : at + CHUNK]) for at in range(0, len(ids), CHUNK)]
        if len(chunks) >= 8 * TEXTS:
            break
    return [chunks[i] for i in random.choice(len(chunks), TEXTS, replace=False)]
