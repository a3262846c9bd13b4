"""Results files as `ablate`, `scaling`, `payoff` and `square` write them, with losses drawn from a seed."""

import numpy as np

from judging.margin import EQUAL_SHARE

MARGIN = 0.02  # of equality in `two_rows`, bits per byte
LN2 = np.log(2)


def documents(count, rng):
    """Of very different lengths."""
    sizes = rng.lognormal(7, 0.8, count).round() + 50
    return [
        {
            "source": f"module_{d}",
            "domain": ("code", "docs")[d % 2],
            "bytes": int(size),
            "shared_ngrams": d / 50,
        }
        for d, size in enumerate(sizes)
    ]


def cell(seed, bits_d, off_d, bytes_d, name="palm"):
    """A finished cell: bits per byte [D] of each document, with neighbours and (or None) without."""
    nats = lambda bits_d: None if bits_d is None else (bits_d * LN2 * bytes_d).tolist()
    return {
        "seed": seed, "cell": f"{name}-{seed:016x}", "status": "finished", "reason": None, "last_finite": None,
        "nats": nats(bits_d), "nats_off": nats(off_d), "tokens_per_second": 6100.0 + seed, "mfu": 0.46,
        "peak_bytes": 812_345_678, "seconds": 112.0,
    }  # fmt: skip


def unfinished(seed, status="diverged"):
    last = {"step": 31, "nats": 5.2} if status == "diverged" else None
    reason = "out of memory" if status == "failed" else None
    return cell(seed, None, None, None) | {
        "status": status, "reason": reason, "last_finite": last, "tokens_per_second": None, "mfu": None,
        "peak_bytes": None,
    }  # fmt: skip


def row(name, against="published", bits=2.0, gain=None, **fields):
    """What `results` makes a row of: bits per byte, and with − without neighbours (None: not read without)."""
    paper = (
        {"figure": f"of {name}", "expects": fields.pop("expects"), "source": "section 2"}
        if "expects" in fields
        else None
    )
    return {
        "name": name, "group": "Block", "against": against, "change": {"block": name}, "note": "",
        "paper": paper, "facts": {"family": "palm", "size": "tiny", "retrieval": None, "initialisation": None},
        "parameters": 1_376_896, "train_tokens": 6.2e5, "train_flops": 7.1e12, "bits": bits, "gain": gain,
    } | fields  # fmt: skip


def results(rows, experiment="ablate palm", seeds=3, count=30, null=True, noise=0.004, rng_seed=0):
    """`rows` as losses of `count` documents. Rows of one seed share most of their chance, as paired rows do."""
    rng = np.random.default_rng(rng_seed)
    evaluated = documents(count, rng)
    bytes_d = np.array([document["bytes"] for document in evaluated], float)
    text_d, luck_sd = 0.25 * rng.standard_normal(count), 0.01 * rng.standard_normal((seeds + 3, count))

    def cells(spec, chosen):
        for seed in chosen:
            bits_d = (
                text_d
                + luck_sd[seed]
                + spec["bits"]
                + noise * (rng.standard_normal() + rng.standard_normal(count))
            )
            off_d = (
                None
                if spec["gain"] is None
                else bits_d - spec["gain"] + noise / 2 * rng.standard_normal(count)
            )
            made = cell(seed, bits_d, off_d, bytes_d, spec.get("cell", spec["name"]).replace(" ", "-"))
            yield made | ({"draws": drawn(made["nats"], spec["draws"])} if "draws" in spec else {})

    def drawn(nats, draws):
        """So many draws of a database around the mean of all."""
        beyond_r = noise * rng.standard_normal(draws)
        return [(np.array(nats) + beyond * LN2 * bytes_d).tolist() for beyond in beyond_r - beyond_r.mean()]

    made = [
        {key: value for key, value in spec.items() if key not in ("bits", "gain", "cell", "draws")}
        | {"cells": list(cells(spec, range(seeds)))}
        for spec in rows
    ]
    other = {"of": rows[0]["name"], "cells": list(cells(rows[0], range(seeds, seeds + 3)))}
    return {
        "experiment": experiment, "layout": 1, "command": f"python -m experiments.{experiment}",
        "config": {
            "size": "tiny", "vocab_size": 4096, "steps": 610, "length": 512, "batch_size": 2, "corpus": "stdlib",
            "corpus_bytes": 6_000_000, "seeds": seeds,
        },
        "environment": {
            "python": "3.11.7", "jax": "0.10.2", "device": "cpu", "cores": 2, "commit": "ab12",
            "date": "2026-11-22", "corpus_hash": "0123456789abcdef",
        },
        "peak": {"flops_per_second": 2.1e11, "convention": "MFU = model FLOPs / measured peak"},
        "corpus": {
            "documents": {"code": 272, "docs": 223}, "validation_documents": 52, "evaluated_documents": count,
            "tokens": {"train": 1_628_192, "validation": 177_286, "evaluated": 159_915},
            "bytes_per_token": 3.3, "chunks": 28_441, "skipped": {"binary": 3},
            "near_duplicate_threshold": 0.2,
        },
        "documents": evaluated, "rows": made, "null": other if null else None,
    }  # fmt: skip


def two_rows(**fields):
    """And the yardstick of the margin of equality, which is MARGIN."""
    yardstick = row("ReLU", bits=2.0 + MARGIN / EQUAL_SHARE)
    return results([row("published", against=None), row("variant", **fields), yardstick])
