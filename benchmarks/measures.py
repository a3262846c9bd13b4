"""What is measured. Every function returns {"setting", "convention", "rows", "raw"}; rows are what the tables
show.
"""

import statistics
from typing import Any

import numpy as np

from benchmarks.embedding import embedding
from benchmarks.pairs import SPREAD, Worker, alternate, speed_ratio

VOCABULARY = 8192
SMALL = {"num_layers": 6, "num_heads": 4, "head_size": 64, "d_model": 256, "d_ff": 1024}
PALM = {**SMALL, "vocab_size": VOCABULARY, "remat": "dots"}
# Gopher's feed-forward has two matrices and its attention four: this width gives PaLM's parameter count.
GOPHER = {**PALM, "d_ff": 1216}


def retro_model(num_heads: int) -> dict[str, Any]:
    """RETRO of PaLM's widths and depth, with chunked cross-attention in layers 3 and 6."""
    return {
        "decoder": {**PALM, "num_heads": num_heads, "remat": "none"}, "cca_layers": [3, 6],
        "encoder_layers": 2, "encoder_d_model": 256, "encoder_d_ff": 1024,
        "encoder_num_heads": num_heads, "encoder_head_size": 64,
    }  # fmt: skip


RETRO_PEER = {
    "num_tokens": VOCABULARY, "enc_dim": 256, "enc_depth": 2, "enc_cross_attn_layers": [1], "dec_dim": 256,
    "dec_depth": 6, "dec_cross_attn_layers": [3, 6], "heads": 8, "dim_head": 64,
}  # fmt: skip
PALM_PEER = {**SMALL, "vocab_size": VOCABULARY}
LENGTH = 512


def training_step(repeats: int) -> dict[str, Any]:
    """PaLM against PaLM-pytorch, Gopher against PaLM, tokens/s of whole training steps."""
    shape = {"batch": 8, "length": LENGTH}

    def ours(family, model, optimiser="adam"):
        job = {"job": "step", "family": family, "model": model, "optimiser": optimiser, **shape}
        return "ours", job

    def peer(keep_memory):
        return "peers", {"job": "palm-step", "model": PALM_PEER, "keep_memory": keep_memory, **shape}

    jobs = {
        "PaLM, Adam": ours("palm", PALM),
        "PaLM-pytorch, Adam": peer(keep_memory=False),
        "PaLM-pytorch, Adam, our allocator": peer(keep_memory=True),
        "PaLM, its own recipe": ours("palm", PALM, "recipe"),
        "Gopher, Adam": ours("gopher", GOPHER),
    }
    seconds, facts = alternate(jobs, repeats)
    against = dict.fromkeys(jobs, "PaLM-pytorch, Adam") | {"Gopher, Adam": "PaLM, Adam"}
    return {
        "setting": {"model": PALM, "gopher": GOPHER, "peer": PALM_PEER, **shape},
        "convention": f"float32, forward + backward + update; {SPREAD}",
        "rows": _rows(seconds, facts, shape["batch"] * LENGTH, against),
        "raw": {"seconds": seconds, "facts": facts},
    }


def retro_step(repeats: int) -> dict[str, Any]:
    """RETRO against retro-pytorch: k = 2 neighbours of 128 tokens for every chunk of 64."""
    shape = {"batch": 4, "length": LENGTH}
    peer = {"job": "retro-step", "model": RETRO_PEER, "neighbours": 2, "neighbour_length": 128, **shape}
    own = {"job": "step", "family": "retro", "optimiser": "adam", **shape}
    # It has 8 heads of 64 whatever number it is given.
    jobs = {
        "RETRO, 8 heads": ("ours", {**own, "model": retro_model(num_heads=8)}),
        "retro-pytorch, 8 heads": ("peers", peer),
        "RETRO, 4 heads": ("ours", {**own, "model": retro_model(num_heads=4)}),
    }
    seconds, facts = alternate(jobs, repeats)
    return {
        "setting": {"model": retro_model(num_heads=8), "peer": RETRO_PEER, **shape},
        "convention": f"float32, forward + backward + Adam, neighbours given; {SPREAD}",
        "rows": _rows(
            seconds, facts, shape["batch"] * LENGTH, dict.fromkeys(seconds, "retro-pytorch, 8 heads")
        ),
        "raw": {"seconds": seconds, "facts": facts},
    }


def matrix_product_fraction(repeats: int) -> dict[str, Any]:
    """The share of the machine's matrix-product rate that a PaLM step attains, d_model 512, length 1024."""
    model = {
        "num_layers": 6, "num_heads": 8, "head_size": 64, "d_model": 512, "d_ff": 2048,
        "vocab_size": VOCABULARY, "remat": "dots",
    }  # fmt: skip
    shape = {"batch": 4, "length": 1024}
    step = {"job": "step", "family": "palm", "model": model, "optimiser": "adam", **shape}
    jobs = {"PaLM step": ("ours", step), "products": ("ours", {"job": "matrix-product"})}
    seconds, facts = alternate(jobs, repeats)
    peak = facts["products"]["flops"] / statistics.median(seconds["products"])
    tokens_per_second = shape["batch"] * shape["length"] / statistics.median(seconds["PaLM step"])
    rows = [
        {
            "FLOPs per token": name,
            "GFLOP/s": tokens_per_second * facts["PaLM step"][key] / 1e9,
            "fraction of peak": tokens_per_second * facts["PaLM step"][key] / peak,
        }
        for name, key in (
            ("6N + 12LHKT (PaLM appendix B)", "model_flops_per_token"),
            ("6N + 6LHKT, the causal half, which is what is computed", "causal_flops_per_token"),
        )
    ]
    return {
        "setting": {
            "model": model,
            **shape,
            "peak_gflops": peak / 1e9,
            "tokens_per_second": tokens_per_second,
        },
        "convention": "float32; peak = median rate of products of 2048 × 2048 matrices, interleaved with the "
        "steps; model FLOPs, recomputation not counted",
        "rows": rows,
        "raw": {"seconds": seconds, "facts": facts},
    }


def memory(repeats: int) -> dict[str, Any]:
    """Peak memory of one step by length, in blocks and by the direct form, every figure a fresh process."""
    del repeats  # the compiler's figure is exact
    model = {
        "num_layers": 2, "num_heads": 4, "head_size": 32, "d_model": 128, "d_ff": 512, "vocab_size": 1024,
    }  # fmt: skip
    lengths = {"blocks": (512, 1024, 2048, 4096, 8192), "direct": (512, 1024, 2048, 4096)}
    rows, raw = [], []
    for family in ("palm", "gopher"):
        for form, form_lengths in lengths.items():
            measured = []
            for length in form_lengths:
                job = {"job": "memory", "family": family, "model": model, "length": length, "form": form}
                worker = Worker("ours", job)
                measured.append({"family": family, "form": form, "length": length, **worker.facts})
                worker.close()
            raw += measured
            rows.append(
                {"model": f"{family}, {form}"}
                | {f"T = {m['length']}": f"{m['temporary_bytes'] / 2**20:.0f} MiB" for m in measured}
                | {"exponent": exponent(form_lengths, [m["temporary_bytes"] for m in measured])}
            )
    return {
        "setting": {"model": model, "batch": 1},
        "convention": "float32, temporaries of the compiled step (memory_analysis); exponent of length in a "
        "least-squares fit of logarithms; peak resident memory of every process is in the JSON",
        "rows": rows,
        "raw": raw,
    }


def decoding(repeats: int) -> dict[str, Any]:
    """512 sampled tokens: ours against PaLM-pytorch's own generation, multi-query against multi-head."""
    new_tokens = 512

    def ours(batch, attention):
        model = {**PALM, "attention": attention}
        return "ours", {
            "job": "decode", "family": "palm", "model": model, "batch": batch, "new_tokens": new_tokens
        }  # fmt: skip

    jobs = {
        f"PaLM, {attention}, batch {batch}": ours(batch, attention)
        for batch in (1, 8) for attention in ("multi_query", "multi_head")
    }  # fmt: skip
    peer = {"job": "palm-decode", "model": PALM_PEER, "batch": 1, "new_tokens": new_tokens}
    jobs["PaLM-pytorch, batch 1"] = ("peers", peer)
    seconds, facts = alternate(jobs, min(repeats, 3))
    tokens = {name: new_tokens * (8 if name.endswith("8") else 1) for name in jobs}
    rows = [
        {
            "model": name,
            "parameters": facts[name]["parameters"],
            "cache bytes": facts[name].get("cache_bytes"),
            "tokens/s": tokens[name] / statistics.median(seconds[name]),
            "ratio": tokens[name] / tokens["PaLM-pytorch, batch 1"]
            * speed_ratio(seconds[name], seconds["PaLM-pytorch, batch 1"])["ratio"],
        }
        for name in jobs
    ]  # fmt: skip
    return {
        "setting": {"model": PALM, "new_tokens": new_tokens},
        "convention": "float32, sampling from one token on; ratio of tokens/s, all rows of a batch counted",
        "rows": rows,
        "raw": {"seconds": seconds, "facts": facts},
    }


def exponent(lengths: Any, sizes: Any) -> float:
    """p of the best fit sizes = c · lengths^p."""
    return float(np.polyfit(np.log(lengths), np.log(sizes), 1)[0])


def _rows(seconds, facts, tokens, against):
    rows = []
    for name, other in against.items():
        ratio = speed_ratio(seconds[name], seconds[other])
        rows.append(
            {
                "step": name,
                "parameters": facts[name]["parameters"],
                "tokens/s": tokens / statistics.median(seconds[name]),
                "ratio": ratio["ratio"],
                "spread": f"[{ratio['paired_low']:.2f}, {ratio['paired_high']:.2f}]",
                "to": other,
            }
        )
    return rows


MEASURES = {
    "training-step": training_step,
    "retro-step": retro_step,
    "matrix-product-fraction": matrix_product_fraction,
    "memory": memory,
    "decoding": decoding,
    "embedding": embedding,
}
