"""The `leakage` part of results.json: bits per byte and what retrieval gains, over the chunks of which little
was seen in training (RETRO, Section 2.6). Computed from the saved losses and the neighbour table.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from data.token_store import CHUNK
from evaluation.leakage import ALPHAS, HeldOutChunks, chunk_nats, held_out_chunks, per_document
from judging.documents import documents_by_group
from studies.prepare import Prepared
from studies.summary import GOPHER, Form, compared, domains_of, forms_of, named, score
from studies.trials.held_out import held_out
from studies.trials.trial import Trial, TrialResult


def leakage(
    prepared: Prepared, trials: dict[tuple[str, int], Trial], results: dict[tuple[str, int], TrialResult]
) -> dict[str, Any]:
    """neighbours: how many each chunk was compared with. runs: by domain, how many chunks have a longest
    shared run of 0, 1, … 64 tokens. means and comparisons: as those of the whole results, by `alpha` too,
    with the chunks and bytes they are over; an α to which no chunk of a domain belongs is left out.
    """
    store = prepared.store
    batches = [batch for batch, _ in held_out(trials["palm", 0], prepared.neighbours)]
    chunks_su = np.concatenate([batch.chunks for batch in batches])
    chunks = held_out_chunks(prepared.neighbours, prepared.tokenizer, chunks_su)
    documents = np.unique(chunks.documents)
    groups = store.independent_groups(documents)
    seeds = sorted({seed for _, seed in trials})
    nats = {
        form: [chunk_nats(chunks, store, results[name, seed].nats[retrieval], chunks_su) for seed in seeds]
        for form, name, retrieval in forms_of(trials)
    }
    runs, means, comparisons = [], [], []
    for domain, inside in domains_of(prepared, documents).items():
        of_domain = np.isin(chunks.documents, documents[inside])
        counts = np.bincount(chunks.runs[of_domain], minlength=CHUNK + 1)
        runs.append({"domain": domain, "chunks": counts.tolist()})
        for alpha in ALPHAS:
            kept = of_domain & chunks.at_most(alpha)
            nats_sd, num_bytes_d, has_chunks = _by_document(chunks, nats, kept)
            if not num_bytes_d.any():
                continue
            text = documents_by_group(num_bytes_d, groups[has_chunks])
            over = {"alpha": alpha, "chunks": int(kept.sum()), "bytes": round(num_bytes_d.sum())}
            means += [
                {
                    **named(form), "domain": domain, **over, "seeds": len(seeds),
                    **score(losses_sd.mean(axis=0), text),
                }
                for form, losses_sd in nats_sd.items()
            ]  # fmt: skip
            comparisons += [
                compared(a, b, domain, nats_sd[a], nats_sd[b], text) | over for a, b in _pairs(nats)
            ]
    return {"neighbours": chunks.neighbours, "runs": runs, "means": means, "comparisons": comparisons}


def _by_document(
    chunks: HeldOutChunks, nats: dict[Form, list[np.ndarray]], kept_n: np.ndarray
) -> tuple[dict[Form, np.ndarray], np.ndarray, np.ndarray]:
    """Losses [S, D] of every form and bytes [D], over the chunks in `kept_n` of the documents that have some:
    another is no part of a group. And which of all documents these are, bool.
    """
    documents = np.unique(chunks.documents)
    num_bytes_d = per_document(chunks, chunks.num_bytes, kept_n, documents)
    has_chunks = np.isin(documents, chunks.documents[kept_n])
    nats_sd = {
        form: np.stack([per_document(chunks, nats_n, kept_n, documents)[has_chunks] for nats_n in per_seed])
        for form, per_seed in nats.items()
    }
    return nats_sd, num_bytes_d[has_chunks], has_chunks


def _pairs(forms: Iterable[Form]) -> list[tuple[Form, Form]]:
    """What retrieval gains: on against off, and on against the dense model of its kind."""
    return [(on, other) for on in forms if on[1] == "on" for other in ((on[0], "off", on[2]), GOPHER)]
