"""The leakage part of results.json against sums over single tokens."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest

from data.token_store import CHUNK
from models.families import configuration
from studies.leakage import leakage
from studies.trials.held_out import held_out
from studies.trials.trial import Trial, TrialResult
from tests.evaluation.test_leakage import Letters, store_of, table_of

SEEDS = 2


def cells_of(name, form):
    config = configuration(f"{form}/smoke")
    return {
        (name, seed): Trial(name, config, seed, 1, 2, 2 * CHUNK, "float32", 5000, "") for seed in range(SEEDS)
    }


@pytest.fixture
def made(tmp_path):
    """(prepared, trials, results): random losses on six held-out documents, the first ones copied in part."""
    rng = np.random.default_rng(0)
    lengths = [5 * CHUNK - 1, 3 * CHUNK + 20, 90, 64, 63, 1]
    texts = ["".join(rng.choice(list("abcde"), length)) for length in lengths]
    training = texts[0] + texts[1][:100] + "é" * 30 + texts[2][60:]
    sides, domain = [True] * 6 + [False], lambda i: ("code", "docs")[i % 2]
    store = store_of(tmp_path / "store", [*texts, training], sides, domain=domain)
    database = np.arange(store.chunk_offsets[6], store.chunk_offsets[7])
    table = table_of(tmp_path, store, {chunk: database[:10] for chunk in range(store.chunk_offsets[6])})
    trials = cells_of("palm", "palm") | cells_of("gopher", "gopher") | cells_of("retro", "retro")
    weights = np.concatenate([batch.weights for batch, _ in held_out(trials["palm", 0], table)])
    nats = lambda: (rng.random(weights.shape) * weights).astype(np.float32)
    results = {
        key: TrialResult({retrieval: nats() for retrieval in trial.retrievals}, [], 0, 0.0)
        for key, trial in trials.items()
    }
    return SimpleNamespace(store=store, neighbours=table, tokenizer=Letters()), trials, results


@functools.cache
def longest_copy(text, training):
    """Characters of the longest part of `text` that stands in `training`."""
    parts = (text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1))
    return max((len(part) for part in parts if part in training), default=0)


def test_every_figure_is_the_sum_over_its_tokens(made):
    prepared, trials, results = made
    store = prepared.store
    text = lambda d: "".join(Letters.letters[i - 4] for i in store.document_tokens(d)[1:-1])
    # (document, token's place) -> r of its chunk, in tokens; eos stays with the text before it.
    seen, training = {}, text(6)
    for d in range(6):
        for place in range(1, len(text(d)) + 1):
            first = place // CHUNK * CHUNK - 1
            seen[d, place] = longest_copy(text(d)[max(first, 0) : first + CHUNK], training)
        seen[d, len(text(d)) + 1] = seen[d, len(text(d))]
    assert {0, 63, 64} & set(seen.values()) and len(set(seen.values())) > 4

    documents = np.concatenate(
        [documents for _, documents in held_out(trials["palm", 0], prepared.neighbours)]
    )
    part = leakage(prepared, trials, results)
    assert part["neighbours"] == 10
    checked = 0
    for row in part["means"]:
        if row["domain"] != "all":
            continue
        nats, num_bytes = 0.0, 0
        for d in range(6):
            inside = documents == d
            for seed in range(SEEDS):
                losses = results[row["model"], seed].nats[row["retrieval"]][inside]
                for place in range(1, len(text(d)) + 2):
                    if seen[d, place] <= row["alpha"] * CHUNK:
                        nats += float(losses[place - 1]) / SEEDS
            num_bytes += sum(
                len(letter.encode())
                for place, letter in enumerate(text(d), 1)
                if seen[d, place] <= row["alpha"] * CHUNK
            )
        assert row["bytes"] == num_bytes
        assert row["bits_per_byte"] == pytest.approx(nats / np.log(2) / num_bytes, rel=1e-6)
        checked += 1
    assert checked >= 3 * 4  # forms times the values of α that have chunks


def test_differences_are_those_of_the_means_and_runs_count_every_chunk(made):
    prepared, trials, results = made
    part = leakage(prepared, trials, results)
    means = {(r["model"], r["retrieval"], r["domain"], r["alpha"]): r for r in part["means"]}
    assert {(r["a"]["retrieval"], r["b"]["model"], r["b"]["retrieval"]) for r in part["comparisons"]} == {
        ("on", "retro", "off"), ("on", "gopher", None),
    }  # fmt: skip
    for row in part["comparisons"]:
        a, b = (means[row[x]["model"], row[x]["retrieval"], row["domain"], row["alpha"]] for x in "ab")
        assert row["difference"] == pytest.approx(a["bits_per_byte"] - b["bits_per_byte"])
        assert row["chunks"] == a["chunks"] and row["seeds"] == SEEDS
    for domain, first in (("code", 0), ("docs", 1)):
        assert means["palm", None, domain, 1.0]["bytes"] == prepared.store.num_bytes[first:6:2].sum()
    for entry in part["runs"]:
        for row in (r for r in part["means"] if r["domain"] == entry["domain"]):
            assert row["chunks"] == sum(entry["chunks"][: round(row["alpha"] * CHUNK) + 1])
        assert sum(entry["chunks"]) == means["palm", None, entry["domain"], 1.0]["chunks"]
