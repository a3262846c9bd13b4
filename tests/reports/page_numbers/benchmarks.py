"""benchmarks/README.md: what stands between its tables, from benchmarks/results."""

import statistics

from tests.reports.page_numbers.measured import benchmark, row_of
from tests.reports.page_numbers.million import MILLION, at, chosen, reranked, setting
from tests.reports.page_numbers.page import Page, Sentence

TRIED = "scratch: by hand, on a shared machine"


def chosen_and_wanted():
    wanted = at(64)
    of_both = chosen()["re-ranked"], chosen()["× exact"], wanted["× exact"], wanted["× exact, one by one"]
    return setting("nprobe"), *of_both


def on_true_keys():
    rotated, longer = reranked("OPQ32,IVF1024,PQ32"), reranked("OPQ64,IVF1024,PQ64")
    assert rotated == longer, "the page says: as with 64 bytes"
    others = [reranked(factory) for factory in ("IVF1024,PQ64", "IVF1024,PQ32", "IVF1024_HNSW32,PQ64")]
    return setting("keys of the encoder"), rotated, *others


def tokens_of_a_step():
    setting = benchmark("retro-step")["setting"]
    return setting["batch"] * setting["length"]


def gflop(step):
    return tokens_of_a_step() * benchmark("retro-step")["raw"]["facts"][step]["model_flops_per_token"] / 1e9


def product_rate():
    """GFLOP/s"""
    return benchmark("matrix-product-fraction")["setting"]["peak_gflops"]


def peer_rate():
    """Tokens/s"""
    return row_of(benchmark("retro-step")["rows"], step="retro-pytorch, 8 heads")["tokens/s"]


def wanted_seconds():
    """Of a step at 2.5 times the peer's rate."""
    return tokens_of_a_step() / (2.5 * peer_rate())


def at_equal_heads():
    work = gflop("RETRO, 8 heads")
    return work, tokens_of_a_step(), work / product_rate(), peer_rate(), wanted_seconds()


def at_four_heads():
    work = gflop("RETRO, 4 heads")
    return work, wanted_seconds(), 100 * work / wanted_seconds() / product_rate()


def kib_per_token(length):
    step = row_of(benchmark("memory")["raw"], family="palm", form="blocks", length=length)
    return step["temporary_bytes"] / length / 1024


def leads():
    ratios = {row["step"]: row["ratio"] for row in benchmark("training-step")["rows"]}
    ours, theirs = ratios["PaLM, Adam"], ratios["PaLM-pytorch, Adam, our allocator"]
    return ours, theirs, ours / theirs


def minilm():
    """GFLOP and wordpieces of a chunk, and attention's share in percent."""
    ours, texts = benchmark("embedding")["raw"]["facts"]["ours"], benchmark("embedding")["setting"]["texts"]
    layers, d, d_ff = 6, 384, 1536
    dense = 2 * layers * (4 * d * d + 2 * d * d_ff) * ours["wordpieces"]
    return ours["flops"] / texts / 1e9, ours["wordpieces"] / texts, 100 * (1 - dense / ours["flops"])


PAGE = Page(
    "benchmarks/README.md",
    sentences=(
        Sentence(
            "it takes hours, most of them for {:,} keys of the encoder",
            lambda: [setting("keys of the encoder")],
            f"{MILLION} (setting)",
        ),
        Sentence(
            "The build chose nprobe {} by the mixture of keys, where it reaches {:.2f} at {:.0f} times the speed of "
            "exact search in batches. Copies with noise are found too easily. Of true neighbours that the encoder "
            'made, only those can be found whose list is searched ("reach"): they would want nprobe 64, {:.0f} times '
            "as fast in batches and {:.0f} times one by one.",
            chosen_and_wanted,
            f"{MILLION} (rows)",
        ),
        Sentence(
            "Over the {:,} keys of the encoder alone, in 1,024 lists, recall@2 after re-ranking is {:.4f} at nprobe 64 "
            "with the rotated codes of 32 bytes, as with 64 bytes ({:.3f} unrotated), {:.3f} with 32 bytes unrotated, "
            "and {:.2f} with a graph over the lists",
            on_true_keys,
            f"{MILLION} (raw, real …)",
        ),
        Sentence(
            "at equal heads a step is {:.0f} GFLOP by our accountant ({} tokens, 6N + 12LHKT), {:.1f} s at the product "
            "rate above, and 2.5 times the package's {:.0f} tokens/s would be {:.2f} s.",
            at_equal_heads,
            "benchmarks/results/retro-step.json and matrix-product-fraction.json",
        ),
        Sentence(
            "At the 4 heads that were asked for a step is {:.0f} GFLOP and {:.2f} s would take {:.0f} % of that rate",
            at_four_heads,
            "benchmarks/results/retro-step.json and matrix-product-fraction.json",
        ),
        Sentence(
            "PaLM's step now takes {:.0f} KiB per token at 1,024 and {:.0f} at 8,192.",
            lambda: [kib_per_token(1024), kib_per_token(8192)],
            "benchmarks/results/memory.json (raw)",
        ),
        Sentence(
            "Our process keeps its freed memory and the peers run as installed: {:.1f} times PaLM-pytorch. Given the "
            "same setting, the package gains {:.1f} times itself, and our lead over it is {:.2f}",
            leads,
            "benchmarks/results/training-step.json (rows)",
        ),
        Sentence(
            "scratch, against {:.2f} s at 4 heads",
            lambda: [statistics.median(benchmark("retro-step")["raw"]["seconds"]["RETRO, 4 heads"])],
            "benchmarks/results/retro-step.json (raw)",
        ),
        Sentence(
            "By the FLOPs of unpadded wordpieces {:.2f} GFLOP per chunk of {:.0f} wordpieces, of which attention's two "
            "products are {:.1f} %",
            minilm,
            "benchmarks/results/embedding.json (raw, ours) and MiniLM's sizes",
        ),
    ),
    not_measured=(
        "Chunks of 64 tokens of the standard library",
        "they would want nprobe 64",
        "of the encoder alone, in 1,024 lists",
        "at nprobe 64 with the rotated codes of 32 bytes, as with 64 bytes (",
        "with 32 bytes unrotated",
        "left out below 65,536 of them",
        "RETRO misses 2.5 times `retro-pytorch`. That package computes 8 heads of 64",
        "tokens, 6N + 12LHKT)",
        "and 2.5 times the package's",
        "At the 4 heads that were asked for",
        "KiB per token at 1,024",
        "at 8,192.",
        "s at 4 heads)",
        "hands 16-bit inputs to cuDNN",
    ),
    without_a_file={
        "Beside other work (load 5 to 9) the ratio was 2.9": "an earlier benchmarks/results/embedding.json, commit b1f9eb0",
        "CPU time of one thread: 16.6 ms per chunk, sentence-transformers 27.2.": f"{TRIED}, commit b1f9eb0",
        "Memory grew as T^1.16 from 1,024 tokens on, about 2 bytes for every pair": f"{TRIED}, commit d0968b9",
        "(1.86 s, scratch, against": f"{TRIED}, commit 6429e28",
        "| dense layers with batch and length folded into one axis (SwiGLU, forward + backward) | 245 ms | 133 ms | kept |": TRIED,
        "| attention that saves its normalisers and recomputes its weights, batch 8, length 512 | 55 ms | 47 ms | kept |": TRIED,
        "| the same at batch 1, length 4096: time, and temporaries | 1008 ms, 583 MiB | 300 ms, 22 MiB | kept |": TRIED,
        "| the same, relative form, length 4096 | 972 ms | 687 ms | kept |": TRIED,
        "| backward pass of attention in transposed layout | 44 ms | 47–60 ms | dropped |": TRIED,
        "| attention blocks of 32, 64, 128, 256 queries | | 44, 43, 48, 65 ms | 64 |": TRIED,
        "| cross entropy with a custom gradient (logits given) | 48 ms | 45–53 ms | dropped |": TRIED,
        "| gradient of the embedding as (x′g)′ | 397 ms | 363 ms alone, none in the step | dropped |": TRIED,
        "| dense weights stored [out, in] | 133 ms | 144 ms | dropped |": TRIED,
        "| gate and up as one product | 137 ms | 137 ms | dropped |": TRIED,
        "| layers unrolled instead of scanned | 1.94 s | 1.91 s | dropped, for compile time |": TRIED,
        '| elementwise work recomputed (`remat="dots"`): time, temporaries | 2.02 s, 1279 MiB | 1.86 s, 678 MiB | the setting above |': TRIED,
        '| `remat="dots"` that also stores attention\'s output | 1.82 s | 1.82–1.88 s | dropped |': TRIED,
        "| scaling before the logits instead of after | 1.82 s, 678 MiB | 1.75 s, 558 MiB | kept |": TRIED,
        "| glibc keeps freed memory (page faults of a step: 145,000 to none), wall time | 1.94 s | 1.79 s | kept |": TRIED,
        "| loss by parts of 512 tokens, gradient where the logits are: time, temporaries | 1.74 s, 558 MiB | 1.57 s, 425 MiB | kept |": TRIED,
        "| heads lead in attention's products, division by the sum after mixing: six layers, 16 × 64 wordpieces | 22.4 of 230 ms | 16.4 ms | kept |": TRIED,
        "| lengths rounded up to 4 instead of 8: padding, shapes compiled at 0.6 s each | 5.9 %, 13 | 2.8 %, 25 | kept |": TRIED,
        "| to 2, to 1 | 2.8 %, 25 | 1.2 %, 41; 0.4 %, 68 | dropped: pays beyond 50,000 chunks |": TRIED,
        "| rows of a batch 16, 32, 64: fraction of the core's products | | 86, 83, 75 % | 16 |": TRIED,
        "| a batch per core instead of threads within a batch | 167 GFLOP/s | 173 GFLOP/s | kept; bytes cannot depend on threads |": TRIED,
        "| several texts packed into rows of 128 | | by arithmetic, attention and its softmax double (7 to 14 % of the time) to save 2.8 % of padding | not built |": TRIED,
        "| less optimisation by LLVM, no split code generation: compile time | 0.6 s | 0.55–0.65 s | dropped |": TRIED,
    },
)
