"""A million chunks: how long each stage takes on one core, how much memory, how much it finds, how fast.

python -m benchmarks.million

It resumes where it was stopped; what is measured lies in runs/million until all of it is written to
benchmarks/results/million.json. Every figure is of one thread, in seconds of the processor, so that what
else runs on the machine does not count.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.million_build import build, in_a_process, killed_build, peak_memory, train
from benchmarks.million_data import all_keys, embed, sources, store_of, tokenizer_of
from benchmarks.tables import FOLDER
from command import command, command_line
from data.token_store import TokenStore
from data.tokenizers import Tokenizer
from retrieval.index.build import build_index, choose_factory
from retrieval.index.index import LISTS, exact_search, inverted_file, load_index, rows_of
from retrieval.index.inverted_lists import transformed
from retrieval.index.keys import Keys
from retrieval.index.nearest_outside_group import nearest_outside_group, outside_group
from retrieval.index.recall import doublings, exact_truth, read_recall
from retrieval.index.speed import exact_ms, timed_curve
from retrieval.keys.encoders import bert_encoder
from retrieval.keys.shards import embed_chunks
from storage.files import write_atomic
from studies.environment import environment

# By these, on keys of the encoder alone, choose_factory was chosen.
CODES = ("PQ64", "PQ32", "SQ8")
ROTATED = ("OPQ64,{},PQ64", "OPQ32,{},PQ32")
OTHERS = ("IVF4096,PQ64",)  # built over all keys as well
TABLE_ROWS = 2**14
TIMED_CHUNKS = 1024
BATCH = 4096  # queries


@dataclass(frozen=True)
class Options:
    """What may be chosen."""

    embedded: int = 102_400
    """Chunks whose keys are the encoder's; the other keys are drawn from these with noise."""
    work: Path = Path("runs/million")
    """Folder of everything that is made, some 6 GB."""
    out: Path = FOLDER / "results/million.json"
    """The results."""


class Measured:
    """Figures by name in a JSON file: what was measured before a kill is not measured again."""

    def __init__(self, path: Path):
        self.path = path
        self.figures = json.loads(path.read_bytes()) if path.exists() else {}

    def once(self, name: str, measure: Callable[[], Any]) -> Any:
        if name not in self.figures:
            self.note(name, measure())
        return self.figures[name]

    def note(self, name: str, figure: Any) -> None:
        self.figures[name] = figure
        write_atomic(self.path, json.dumps(self.figures, indent=1))
        print(f"{name}: {json.dumps(figure)}", flush=True)


def million(options: Options) -> None:
    """Measures whatever is not measured yet."""
    faiss.omp_set_num_threads(1)
    root = options.work
    root.mkdir(parents=True, exist_ok=True)
    measured = Measured(root / "measured.json")
    tokenizer = tokenizer_of(root)
    store = store_of(root, tokenizer)
    total = int(store.chunk_offsets[-1])
    encoder = bert_encoder()
    chunks, real_nd = embed(root, store, tokenizer, encoder, options.embedded)
    measured.once("tokenise", lambda: measure_tokenising(store, tokenizer))
    measured.once("embed", lambda: measure_embedding(store, tokenizer, encoder))
    groups = np.repeat(np.arange(store.num_documents), store.num_chunks)
    real_groups = groups[chunks]
    real = measured.once("keys of the encoder", lambda: describe(real_nd, real_groups))
    noise = (real["median squared distance"] / real_nd.shape[1]) ** 0.5
    made_of = {"store": store.path.name, "encoder": encoder.hash, "embedded": options.embedded}
    keys = all_keys(root, total, chunks, real_nd, noise, made_of)
    for factory in factories(len(real_nd)):
        measured.once(
            f"real {factory}", partial(measure_factory, root, real_nd, real_groups, factory, made_of)
        )
    paths = list(keys.paths)
    chosen = choose_factory(total, keys.shape[1])
    for factory in (chosen, *OTHERS):
        folder = root / factory.replace(",", "-")
        job = (folder, paths, keys.shape[1], groups, factory, made_of)
        if factory == chosen:
            measured.once("train", partial(in_a_process, train, *job))
            measured.once("fill, killed", partial(killed_build, *job))
            measured.once("fill, restarted, and merge", partial(in_a_process, build, *job))
        index = build_index(folder, keys, np.arange(total), groups, factory, made_of)
        measured.once(f"{factory}: search", partial(measure_million, keys, groups, index, chunks))
        measured.once(f"{factory}: reach", partial(measure_reach, keys, groups, index, chunks))
        measured.once(f"{factory}: table", partial(measure_table, keys, groups, index))
    write_atomic(options.out, json.dumps(result(measured.figures, store, chunks, noise, chosen), indent=1))


def measure_tokenising(store: TokenStore, tokenizer: Tokenizer) -> dict[str, float]:
    """Seconds for the text of some documents."""
    documents = np.random.default_rng(5).choice(store.num_documents, 200, replace=False)
    texts = [tokenizer.decode(store.document_tokens(document)) for document in documents]
    start = time.process_time()
    for text in texts:
        tokenizer.encode(text)
    return {"chunks": int(store.num_chunks[documents].sum()), "seconds": time.process_time() - start}


def measure_embedding(store: TokenStore, tokenizer: Tokenizer, encoder: Any) -> dict[str, Any]:
    """Seconds of the processor, of all threads together, and the most memory that was resident."""
    chunks = np.random.default_rng(4).choice(int(store.chunk_offsets[-1]), 2 * TIMED_CHUNKS, replace=False)
    embed_chunks(store, tokenizer, encoder, chunks[:TIMED_CHUNKS])  # compiles
    start = time.process_time()
    embed_chunks(store, tokenizer, encoder, chunks[TIMED_CHUNKS:])
    seconds = time.process_time() - start
    return {"chunks": TIMED_CHUNKS, "seconds": seconds, "peak_bytes": peak_memory()}


def describe(real_nd: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """How far true neighbours are: squared distances of the nearest of another document, by quantile."""
    truth = exact_truth(real_nd, np.arange(len(real_nd)), groups, k=1)
    quantiles = np.quantile(truth.farthest, [0.1, 0.25, 0.5, 0.75, 0.9]).tolist()
    return {"median squared distance": quantiles[2], "quantiles 10 25 50 75 90": quantiles}


def factories(n: int) -> list[str]:
    """The factory strings that are compared on n keys of the encoder."""
    lists = f"IVF{2 ** round(np.log2(4 * n**0.5))}"
    return [
        *(f"{lists},{codes}" for codes in CODES),
        *(rotated.format(lists) for rotated in ROTATED),
        f"{lists}_HNSW32,PQ64",
    ]


def measure_factory(
    root: Path, keys: np.ndarray, groups: np.ndarray, factory: str, made_of: dict
) -> dict[str, Any]:
    """Recall and times of one factory string over the keys that the encoder made."""
    ids = np.arange(len(keys))
    truth = exact_truth(keys, ids, groups)
    start = time.process_time()
    folder = build_index(root, keys, ids, groups, factory, made_of | {"keys": "real"})
    seconds = time.process_time() - start
    index = load_index(folder)
    curve = timed_curve(index, keys, groups, truth, [8, 16, 32, 64, 128, 256], time.process_time)
    size = (folder / LISTS).stat().st_size / len(ids)
    return {"build seconds": seconds, "bytes per chunk": size, "curve": curve}


def measure_million(keys: Keys, groups: np.ndarray, folder: Path, chunks: np.ndarray) -> dict[str, Any]:
    """Recall and times over nprobe beside exact search, for queries whose keys are the encoder's."""
    index, ids = load_index(folder), np.arange(len(keys))
    truth = exact_truth(keys, ids, groups, queries=1000, among=chunks)
    queries_qd = rows_of(keys, truth.rows)
    nprobes = doublings(inverted_file(index).nlist // 8)
    return {
        "built with": read_recall(folder).nprobe,
        "curve": timed_curve(index, keys, groups, truth, nprobes, time.process_time, chunks[:BATCH]),
        "exact batched_ms": exact_ms(keys, ids, queries_qd, True, 1, time.process_time),
        "exact single_ms": exact_ms(keys, ids, queries_qd[:5], False, 1, time.process_time),
    }


def measure_reach(keys: Keys, groups: np.ndarray, folder: Path, chunks: np.ndarray) -> dict[int, float]:
    """By nprobe, the share of true neighbours among the encoder's keys whose list is searched.

    Copies with noise lie in the list of what they were drawn from, where they are found too easily; these are
    pairs that the encoder made. A tenth as many keys are farther apart than all of them would be, which
    should make this a low estimate for a million true keys.
    """
    index = load_index(folder)
    rows = np.sort(np.random.default_rng(6).choice(chunks, 1000, replace=False))

    def find(rows: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        return exact_search(keys, np.sort(chunks), rows_of(keys, rows), width)

    _, neighbours, _ = outside_group(find, keys, groups, rows, width=1000, k=2, kept=2)
    quantizer = inverted_file(index).quantizer
    searched = quantizer.search(transformed(index, rows_of(keys, rows)), quantizer.ntotal)[1]
    there = neighbours >= 0
    lists = quantizer.search(transformed(index, keys[neighbours.ravel()]), 1)[1].reshape(neighbours.shape)
    place = (searched[:, None, :] == lists[:, :, None]).argmax(axis=-1)[there]
    return {nprobe: float((place < nprobe).mean()) for nprobe in doublings(quantizer.ntotal // 8)}


def measure_table(keys: Keys, groups: np.ndarray, folder: Path) -> dict[str, Any]:
    """Seconds for rows of a neighbour table, k = 10 of them kept."""
    rows = np.sort(np.random.default_rng(3).choice(len(keys), TABLE_ROWS, replace=False))
    index = load_index(folder)
    start = time.process_time()
    nearest_outside_group(index, keys, groups, 10, rows)
    return {"rows": TABLE_ROWS, "seconds": time.process_time() - start}


def result(
    figures: dict[str, Any], store: TokenStore, chunks: np.ndarray, noise: float, factory: str
) -> dict[str, Any]:
    """The figures in the form of all benchmarks' results."""
    search, total = figures[f"{factory}: search"], int(store.chunk_offsets[-1])
    reach = {int(nprobe): share for nprobe, share in figures[f"{factory}: reach"].items()}
    exact = {name: search[f"exact {name}"] for name in ("batched_ms", "single_ms")}
    rows = [
        {
            "nprobe": point["nprobe"],
            "recall@2": point["plain"],
            "re-ranked": point["reranked"],
            "reach": reach[point["nprobe"]],
            "ms, batched": point["batched_ms"],
            "× exact": exact["batched_ms"] / point["batched_ms"],
            "ms, one by one": point["single_ms"],
            "× exact, one by one": exact["single_ms"] / point["single_ms"],
        }
        for point in search["curve"]
    ]
    return {
        "benchmark": "million",
        "command": command_line("benchmarks.million"),
        "environment": environment(),
        "load": os.getloadavg()[0],
        "setting": {
            "chunks": total,
            "documents": store.num_documents,
            "source": list(sources()),
            "keys of the encoder": len(chunks),
            "noise": noise,
            "factory": factory,
            "nprobe": search["built with"],
        },
        "convention": (
            f"{total:,} chunks of 64 tokens of Python source, {factory}, one thread, seconds of the "
            f"processor; {len(chunks):,} keys are MiniLM's, the others are drawn from these with Gaussian "
            f"noise of {noise:.3f} in each number, as large as the median distance of a true neighbour: "
            "recall on them is not recall on as many true keys. Reach: of pairs of true neighbours among the "
            "encoder's keys, how many are in a list that is searched. Exact search: "
            f"{exact['batched_ms']:.1f} ms batched, {exact['single_ms']:.0f} ms one by one"
        ),
        "rows": rows,
        "raw": figures,
    }


if __name__ == "__main__":
    command(million, Options, "Build and search an index of a million chunks, and measure it.")
