"""docs/retrieval.md: the million chunks from benchmarks/results/million.json, the costs by arithmetic."""

from retrieval.database.costs import published_rows
from tests.reports.page_numbers.measured import row_of
from tests.reports.page_numbers.million import MILLION, at, chosen, raw, reranked, setting
from tests.reports.page_numbers.page import Page, Sentence

FILLED = "fill, restarted, and merge"
TFIDF = "scratch, commit 73e9c18; retrieval/keys/tfidf.py says how"


def beside_exact(how):
    """ms, of exact search, and how many times as fast."""
    column = {"batched": "ms, batched", "single": "ms, one by one"}[how]
    ms, exact = chosen()[column], raw("OPQ32,IVF4096,PQ32: search")[f"exact {how}_ms"]
    return ms, exact, exact / ms


def memory():
    """GB before, and beyond that in training and in filling."""
    train, fill = raw("train")["memory"], raw(FILLED)["memory"]
    return [number / 1e9 for number in (train["before"], train["beyond"], fill["beyond"])]


def on_disk():
    """MB, and bytes per chunk."""
    size = sum(raw(FILLED)["files"].values())
    return size / 1e6, size / setting("chunks")


def stages():
    """Shards filled, of how many, and seconds."""
    fill = raw(FILLED)
    return fill["shards filled"], fill["shards"], raw("train")["seconds"], *fill["seconds"].values()


def seconds_per_million(name, counted):
    return 1e6 * raw(name)["seconds"] / raw(name)[counted]


def per_million():
    table = seconds_per_million("OPQ32,IVF4096,PQ32: table", "rows")
    return seconds_per_million("tokenise", "chunks"), round(seconds_per_million("embed", "chunks"), -2), table


def true_neighbours():
    wanted = at(64)
    faster = wanted["× exact"], wanted["× exact, one by one"]
    return 100 * chosen()["reach"], setting("nprobe"), 100 * wanted["reach"], *faster


def kept(form, digits=2):
    row = row_of(published_rows(), kept=form)
    template = f"| {{}} | {{}} | {{:.{digits}f}} |"
    return Sentence(template, lambda: [form, row["arithmetic"], row["TB"]], "retrieval/database/costs.py")


PAGE = Page(
    "docs/retrieval.md",
    sentences=(
        Sentence(
            "builds {:,} chunks of the Python source", lambda: [setting("chunks")], f"{MILLION} (setting)"
        ),
        Sentence(
            "{:,} keys, spread over all documents, are MiniLM's",
            lambda: [setting("keys of the encoder")],
            f"{MILLION} (setting)",
        ),
        Sentence(
            "| recall@2 by the index alone, after re-ranking by keys | {:.4f}, {:.3f} (nprobe {}, which the build chose) |",
            lambda: [chosen()["recall@2"], chosen()["re-ranked"], setting("nprobe")],
            f"{MILLION} (rows)",
        ),
        Sentence(
            "| ms per query, in batches, beside exact search | {:.2f} beside {:.2f}: {:.0f} times as fast |",
            lambda: beside_exact("batched"),
            f"{MILLION} (raw, search)",
        ),
        Sentence(
            "| ms per query, one by one, beside exact search | {:.1f} beside {:.0f}: {:.0f} times |",
            lambda: beside_exact("single"),
            f"{MILLION} (raw, search)",
        ),
        Sentence(
            "| memory beyond Python and its libraries ({:.2f} GB): training; filling, restarted after a kill, and "
            "merging | {:.2f} GB; {:.2f} GB |",
            memory,
            f"{MILLION} (raw, train and fill)",
        ),
        Sentence(
            "| memory in all while keys are made, the model included | {:.1f} GB |",
            lambda: [raw("embed")["peak_bytes"] / 1e9],
            f"{MILLION} (raw, embed)",
        ),
        Sentence("| index on disk | {:.0f} MB, {:.0f} bytes per chunk |", on_disk, f"{MILLION} (raw, fill)"),
        Sentence(
            "| seconds: train, fill {} of {} shards, merge, merge again and measure recall | {:.0f}, {:.0f}, {:.1f}, {:.0f} |",
            stages,
            f"{MILLION} (raw, train and fill)",
        ),
        Sentence(
            "| seconds per million chunks: tokenize, make keys, neighbour table | {:.0f}, {:,.0f}, {:.0f} |",
            per_million,
            f"{MILLION} (raw, tokenise, embed and table)",
        ),
        Sentence(
            "Of true neighbours among MiniLM's own keys {:.0f} % lie in a list that nprobe {} searches, and {:.0f} % in "
            "one of 64, where search in batches is {:.0f} times as fast as exact search, and one by one {:.0f} times",
            true_neighbours,
            f"{MILLION} (rows)",
        ),
        Sentence(
            "On MiniLM's {:,} keys alone recall@2 is {:.2f} at nprobe 64.",
            lambda: [setting("keys of the encoder"), reranked("OPQ32,IVF1024,PQ32")],
            f"{MILLION} (raw, real OPQ32,IVF1024,PQ32)",
        ),
        kept("as published: float32 keys, int32 tokens", digits=1),
        kept("float16 keys, int32 tokens", digits=1),
        *(kept(f"codes of {size} bytes and ids") for size in (64, 32, 8)),
    ),
    not_measured=(
        "beyond 256 MiB",
        "exit code 2",
        "4,096 chunks",
        "(RETRO, section 2.3)",
        "(1 + log tf) · idf, through random signs into 768 places",
        "is exact below 65,536 chunks",
        "about 4 √n inverted lists",
        "a deterministic sample of 64 chunks per list, filled in shards of 65,536",
        "54 candidates beyond those needed",
        "the first with 0.97 is taken",
        "warned about below 0.9.",
        "in one of 64, where search in batches",
        "at nprobe 64.",
        "the paper's 28e9 chunks",
        "every 95 % interval over documents",
    ),
    without_a_file={
        "on the 28,441 chunks of the standard library": TFIDF,
        "shares a run of 9.2 tokens with its chunk": TFIDF,
        "11.0 tokens (11.1 by exact sparse TF-IDF), 24,000 keys per second and core": TFIDF,
        "of seed 0 loses 0.0016, 0.0005 and 0.0000 bits per byte at recall@2 of 0.53, 0.75 and 0.92": (
            "scratch: experiments.retrieval report --run over three databases, commit 23c39be"
        ),
    },
)
