"""What a results file of each kind has to hold for pages to be made of it (forms of `storage.json_files`).

Only what pages compute with is here: older files lack much of the rest, and what is merely shown may be of
any type.
"""

from collections.abc import Mapping
from typing import Any

NUMBER, BOUNDS = (float, None), ([float], None)

ENVIRONMENT = {"python": str, "jax": str, "device": str, "cores": int, "commit": str, "date": str}
OLDER_HEAD = {"experiment": str, "command?": str, "environment": {}}
HEAD = {"experiment": str, "layout": int, "command": str, "environment": ENVIRONMENT}
SET_UP = {"options?": {}, "vocab_size?": int, "corpus_bytes?": (int, None), "corpus?": str,
          "tokenizer?": str}  # fmt: skip
CORPUS = {
    "documents?": {str: int}, "tokens?": {"train": int, "validation": int, "evaluated?": int},
    "bytes_per_token?": float, "chunks?": int, "skipped?": {str: int}, "near_duplicate_threshold?": float,
}  # fmt: skip

TRIALS = [
    {
        "seed": int, "cell": (str, None), "status": str, "reason": (str, None), "last_finite": ({}, None),
        "nats": BOUNDS, "nats_off": BOUNDS, "tokens_per_second": NUMBER, "mfu": NUMBER, "peak_bytes": NUMBER,
        "seconds": NUMBER, "draws?": ([[float]], None),
    }
]  # fmt: skip
STUDY = {
    "config": SET_UP
    | {
        "size": str, "vocab_size": int, "length": int, "batch_size": int, "steps": int, "corpus": str,
        "seeds": int,
    },
    "peak": {"flops_per_second": float, "convention": str},
    "corpus": CORPUS
    | {
        "documents": {str: int}, "validation_documents": int, "evaluated_documents": int,
        "tokens": {str: int, "train": int, "evaluated": int}, "bytes_per_token": float,
        "skipped": {str: int}, "near_duplicate_threshold": float,
    },
    "documents": [{"source": str, "domain": str, "bytes": int, "shared_ngrams": float, "group?": str}],
    "rows": [
        {
            "name": str, "group": (str, None), "against": (str, None), "interaction?": (str, None),
            "change": {}, "note": (str, None),
            "paper": (None, {"figure": str, "expects": (str, None), "source": str}),
            "facts": {
                "family?": str, "retrieval?": (str, None), "initialisation?": (str, None), "length?": NUMBER,
                "budget?": float, "k?": NUMBER, "database?": float, "tokens?": NUMBER, "d_model?": NUMBER,
                "block?": str,
            },
            "parameters": int, "train_tokens": float, "train_flops": float, "cells": TRIALS,
        }
    ],
    "null": (None, {"of": str, "cells": TRIALS}),
}  # fmt: skip

MODEL = {"model": str, "retrieval": (str, None), "initialisation": (str, None)}
MEAN = MODEL | {"domain": str, "bits_per_byte": float, "interval": BOUNDS, "seeds": int}
COMPARISON = {
    "a": MODEL, "b": MODEL, "domain": str, "difference": float, "over_seeds": BOUNDS, "over_groups?": BOUNDS,
    "over_documents?": BOUNDS, "over_all?": BOUNDS, "excludes_zero": (bool, None), "seeds": int,
    "groups?": int,
}  # fmt: skip
COMPARE = {
    "config": {"options": SET_UP | {"corpus": str}, "models": {}},
    "peak": {"convention": str}, "stages": [{"stage": str, "seconds": float, "reused": bool}],
    "corpus": CORPUS | {"documents": {str: int}},
    "unigram": [{"domain": str, "bits_per_byte": float}],
    "rows": [
        MODEL
        | {
            "domain": str, "seed": int, "parameters": int, "train_tokens": float, "train_flops": float,
            "bits_per_byte": float, "interval": BOUNDS, "tokens_per_second": NUMBER, "mfu": NUMBER,
        }
    ],
    "means": [MEAN], "comparisons": [COMPARISON],
    "curves": [
        {"model": str, "initialisation": (str, None), "seed": int, "tokens": [float], "loss": [float]}
    ],
    "leakage?": (
        None,
        {
            "neighbours": int, "runs": [{"domain": str, "chunks": [int]}],
            "means": [MEAN | {"alpha": float, "chunks": int, "bytes": int}],
            "comparisons": [COMPARISON | {"alpha": float}],
        },
    ),
}  # fmt: skip

PARALLELISM = {
    "config": {"model": str},
    "rows": [
        {
            "strategy": str, "mesh": str, "losses": [float], "step_seconds": [float], "idle_share": float,
            "idle_share_formula": float, "temporary_bytes": NUMBER, "collective_bytes": {str: NUMBER},
            "weight_bytes": NUMBER, "inputs_held?": ([int], None), "inputs_held_formula?": ([int], None),
            "held_bytes?": NUMBER, "sent_bytes?": NUMBER,
        }
    ],
}  # fmt: skip
PLAN = {
    "config": {}, "assumptions": [str],
    "rows": [
        {
            "model": str, "pods": int, "topology": str, "fits": bool, "peak_gib": float, "hbm_gib": float,
            "compile_seconds": float, "predicted_step_seconds": float, "predicted_mfu": float,
            "published_mfu": NUMBER,
        }
    ],
}  # fmt: skip

OF: Mapping[str, Mapping[str, Any]] = {"compare": COMPARE, "parallelism": PARALLELISM, "plan": PLAN}
