"""The report says what results.json says, no more, and lets no text of the corpus out of its box."""

import math
import re

import pytest

from experiments import findings
from experiments.report import markdown_table, save_plot, terminal_table, write_report

HOSTILE = '<script>alert("x")</script> & $\\alpha$ \x00\ud800'
PUBLISHED_ON, PUBLISHED_OFF = ("retro", "on", "published"), ("retro", "off", "published")
COPYING_ON, COPYING_OFF = ("retro", "on", "copying"), ("retro", "off", "copying")
PALM = ("palm", None, None)
BITS = {
    PALM: 1.981, findings.GOPHER: 1.992, PUBLISHED_OFF: 1.9936, PUBLISHED_ON: 1.9933, COPYING_OFF: 2.012,
    COPYING_ON: 1.929,
}  # fmt: skip
DOMAINS = {"all": 0.0, "code": 0.021, "docs": -0.034, "no_near_duplicates": 0.116}


def _form(form):
    return dict(zip(("model", "retrieval", "initialisation"), form, strict=True))


def _row(form, domain, seed):
    value = BITS[form] + DOMAINS.get(domain, 0.0) + 0.002 * seed
    size = 1_376_896 if form[0] != "retro" else 1_561_216
    return _form(form) | {
        "domain": domain, "seed": seed, "parameters": size, "train_tokens": 614_400, "train_flops": 7.03e12,
        "bits_per_byte": value, "interval": [value - 0.06, value + 0.06], "tokens_per_second": 5400.0 + seed,
        "mfu": 0.31,
    }  # fmt: skip


def _comparison(a, b, domain, seeds):
    difference = BITS[a] - BITS[b]
    around = [difference - 0.004, difference + 0.004]
    return {
        "a": _form(a), "b": _form(b), "domain": domain, "difference": difference,
        "over_seeds": around if seeds > 1 else None, "over_documents": around,
        "excludes_zero": abs(difference) > 0.004, "seeds": seeds,
    }  # fmt: skip


def _curve(form, seed):
    tokens = list(range(1024, 614_401, 1024))
    loss = [3.4 + 5.0 * math.exp(-t / 40_000) + 0.15 * math.sin(12.9 * t + seed) for t in tokens]
    return {"model": form[0], "initialisation": form[2], "seed": seed, "tokens": tokens, "loss": loss}


def _example():
    words = ["def", " decode", "(", "self", ",", " s", ")", ":", "\n", "        ", "return"]
    tokens = [
        {"text": word, "nats_off": 1.0 + (i * 7 % 5), "nats_on": 1.0 + (i * 3 % 4)} for i, word in enumerate(words)
    ]
    neighbour = {"source": "json.scanner", "chunk": 3, "distance": 0.41, "text": "def scan(s):\n    return s\n"}
    return {
        "initialisation": "copying", "source": "json.decoder", "domain": "code", "chunk": 7,
        "retrieving_text": 'class JSONDecoder:\n    """Simple decoder."""\n\n', "continuation_text": "".join(words),
        "neighbours": [neighbour | {"continuation": "    # and on\n"} for _ in range(2)], "tokens": tokens,
    }  # fmt: skip


def make_results(seeds=3, domains=tuple(DOMAINS)):
    others = (PALM, findings.GOPHER)
    pairs = [(PUBLISHED_ON, PUBLISHED_OFF), (PUBLISHED_ON, findings.GOPHER), (COPYING_ON, COPYING_OFF),
             (COPYING_ON, findings.GOPHER), others]  # fmt: skip
    means = [
        {key: value for key, value in _row(form, domain, (seeds - 1) / 2).items() if key != "seed"}
        | {"seeds": seeds}
        for form in BITS
        for domain in domains
    ]
    return {
        "experiment": "compare",
        "command": f"python -m experiments.compare --preset default --seeds {seeds}",
        "config": {"preset": "default", "options": {"seeds": seeds, "corpus": None}, "models": {"palm": {"d": 128}}},
        "environment": {"python": "3.11.7", "jax": "0.10.2", "device": "cpu", "cores": 2, "corpus_hash": "ab12"},
        "corpus": {
            "documents": {"code": 512, "docs": 400}, "validation_documents": 60, "bytes_per_token": 3.2,
            "tokens": {"train": 1_900_000, "validation": 160_000}, "chunks": 31_000, "skipped": {"binary": 3},
            "near_duplicate_threshold": 0.2,
        },
        "unigram": [{"domain": domain, "bits_per_byte": 3.1 + DOMAINS.get(domain, 0.0)} for domain in domains],
        "rows": [_row(form, domain, seed) for form in BITS for domain in domains for seed in range(seeds)],
        "means": means,
        "comparisons": [_comparison(a, b, domain, seeds) for a, b in pairs for domain in domains],
        "stages": [
            {"stage": "tokenizer", "seconds": 1.7, "reused": False},
            {"stage": "embedding", "seconds": 281.4, "reused": True},
            {"stage": "training", "seconds": 502.0, "reused": False},
        ],
        "peak": {"flops_per_second": 2.1e11, "convention": "MFU = model FLOPs / measured matrix-product peak"},
        "curves": [
            _curve(form, seed) for form in (PALM, findings.GOPHER, PUBLISHED_ON, COPYING_ON) for seed in range(seeds)
        ],
        "example": _example(),
    }  # fmt: skip


def page_of(results, tmp_path):
    write_report(results, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")
