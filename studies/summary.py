"""From the losses of every held-out token to the rows, means and paired comparisons of results.json."""

from typing import Any, NamedTuple

import numpy as np

from evaluation.bits_per_byte import bits_per_byte, unigram_nats
from judging.documents import Documents, documents_by_group
from judging.intervals import Interval, paired_over_seeds, ratio
from models.families import count, family_of, parameter_shapes
from retrieval.chunks import training_chunks
from studies.prepare import Prepared
from studies.trials.held_out import evaluated_documents, share_beside_neighbours
from studies.trials.train import typical_speed
from studies.trials.trial import Trial, TrialResult

# A held-out document is without near-duplicates when less than this share of its 13-grams occurs in training.
NEAR_DUPLICATE_SHARE = 0.2
FORM = ("model", "retrieval", "initialisation")
Form = tuple[str, str | None, str | None]
PALM, GOPHER = ("palm", None, None), ("gopher", None, None)


class Trained(NamedTuple):
    """A comparison's text, and its trials and their results by name and seed."""

    prepared: Prepared
    trials: dict[tuple[str, int], Trial]
    results: dict[tuple[str, int], TrialResult]


def summarise(
    prepared: Prepared, trials: dict[tuple[str, int], Trial], results: dict[tuple[str, int], TrialResult]
) -> dict[str, Any]:
    """Rows, means and paired comparisons, from the losses of every trial's held-out tokens."""
    store = prepared.store
    documents = evaluated_documents(trials["palm", 0], prepared.neighbours)
    evaluated = documents.ids
    num_bytes = store.num_bytes[evaluated]
    domains = domains_of(prepared, evaluated)
    texts = texts_of(prepared, evaluated, domains)
    seeds = sorted({seed for _, seed in trials})

    nats: dict[tuple, np.ndarray] = {}  # form -> [seeds, evaluated documents]
    rows = []
    for form, name, retrieval in forms_of(trials):
        per_seed = [documents.nats(results[name, seed].nats[retrieval]) for seed in seeds]
        nats[form] = np.stack(per_seed)
        for seed, nats_d in zip(seeds, per_seed):
            result = results[name, seed]
            tokens_per_second, mfu = typical_speed(result.metrics)
            for domain, inside in domains.items():
                rows.append({
                    **named(form), "domain": domain, "seed": seed,
                    "parameters": count(parameter_shapes(trials[name, seed].config)),
                    "train_tokens": result.train_tokens, "train_flops": result.train_flops,
                    **score(nats_d[inside], texts[domain]),
                    "tokens_per_second": tokens_per_second, "mfu": mfu,
                })  # fmt: skip
    means = [
        {
            **named(form), "domain": domain, "seeds": len(seeds),
            **score(nats_sd.mean(axis=0)[inside], texts[domain]),
        }
        for form, nats_sd in nats.items() for domain, inside in domains.items()
    ]  # fmt: skip
    unigram_d = unigram_nats(store, evaluated)
    return {
        "corpus": corpus_facts(prepared, evaluated) | _in_view(prepared, trials),
        "unigram": [
            {"domain": domain, "bits_per_byte": bits_per_byte(unigram_d[inside], num_bytes[inside])}
            for domain, inside in domains.items()
        ],
        "rows": rows,
        "means": means,
        "comparisons": _comparisons(nats, texts, domains),
        "curves": [_curve(trials[key], results[key]) for key in trials],
    }


def _in_view(prepared: Prepared, trials: dict[tuple[str, int], Trial]) -> dict[str, float]:
    """beside_neighbours: the share of held-out tokens that a retrieving trial predicts with some in view."""
    for trial in trials.values():
        if trial.retrieves:
            return {"beside_neighbours": share_beside_neighbours(trial, prepared.neighbours)}
    return {}


def score(nats_d: np.ndarray, documents: Documents) -> dict[str, Any]:
    """Bits per byte and its interval over groups of documents."""
    spread = ratio(nats_d, documents)
    return {"bits_per_byte": spread.mean, "interval": bounds(spread.interval)}


def forms_of(trials: dict[tuple[str, int], Trial]) -> list[tuple[Form, str, str | None]]:
    """Every form that was evaluated, with the name of its trials and the retrieval that it was read with."""
    return [
        (_form(trials[name, 0], retrieval), name, retrieval)
        for name in dict.fromkeys(name for name, _ in trials)
        for retrieval in trials[name, 0].retrievals
    ]


def _form(trial: Trial, retrieval: str | None) -> Form:
    initialisation = trial.config.cca_initialisation if trial.retrieves else None
    return family_of(trial.config).name, retrieval, initialisation


def named(form: Form) -> dict[str, str | None]:
    """A form as the fields of a record."""
    return dict(zip(FORM, form))


def domains_of(prepared: Prepared, evaluated: np.ndarray) -> dict[str, np.ndarray]:
    """Named subsets of the evaluated documents, as bool [D]; empty ones are left out."""
    names = np.array(prepared.store.domains)[evaluated]
    everything = np.ones(len(evaluated), bool)
    subsets = {
        "all": everything,
        "no_near_duplicates": prepared.store.shared_ngrams[evaluated] < NEAR_DUPLICATE_SHARE,
    }
    subsets |= {str(name): names == name for name in np.unique(names)}
    return {name: inside for name, inside in subsets.items() if inside.any()}


def texts_of(
    prepared: Prepared, evaluated: np.ndarray, domains: dict[str, np.ndarray]
) -> dict[str, Documents]:
    """By domain its documents, each in its group."""
    num_bytes, groups = prepared.store.num_bytes[evaluated], prepared.store.independent_groups(evaluated)
    return {name: documents_by_group(num_bytes[inside], groups[inside]) for name, inside in domains.items()}


def _comparisons(
    nats: dict[tuple, np.ndarray], texts: dict[str, Documents], domains: dict[str, np.ndarray]
) -> list[dict]:
    """The differences that the papers speak of, paired by seed and document."""
    pairs: list[tuple] = [(PALM, GOPHER)]
    for initialisation in ("published", "copying"):
        on, off = (("retro", retrieval, initialisation) for retrieval in ("on", "off"))
        pairs += [(on, off), (on, GOPHER), (off, GOPHER)]
    return [
        compared(a, b, domain, nats[a][:, inside], nats[b][:, inside], texts[domain])
        for a, b in pairs
        for domain, inside in domains.items()
    ]


def compared(
    a: Form, b: Form, domain: str, nats_a: np.ndarray, nats_b: np.ndarray, documents: Documents
) -> dict[str, Any]:
    """The record of a − b, from the losses [S, D] of both."""
    paired = paired_over_seeds(nats_a, nats_b, documents)
    return {
        "a": named(a), "b": named(b), "domain": domain, "difference": paired.mean,
        "over_seeds": bounds(paired.over_seeds), "over_groups": bounds(paired.over_groups),
        "over_all": bounds(paired.over_all),
        "excludes_zero": paired.excludes_zero, "seeds": len(nats_a), "groups": len(documents.names),
    }  # fmt: skip


def bounds(interval: Interval | None) -> list[float] | None:
    """An interval as a results file holds it."""
    return None if interval is None else [interval.low, interval.high]


def _curve(trial: Trial, result: TrialResult) -> dict:
    model, _, initialisation = _form(trial, None)
    tokens_per_step = trial.batch_size * trial.length
    return {
        "model": model, "initialisation": initialisation, "seed": trial.seed,
        "tokens": [line["step"] * tokens_per_step for line in result.metrics],
        "loss": [line["nats"] for line in result.metrics],
    }  # fmt: skip


def corpus_facts(prepared: Prepared, evaluated: np.ndarray) -> dict:
    """What results.json says of the text; evaluated: int64 [D] documents."""
    store = prepared.store
    lengths = np.diff(store.offsets)
    names, counts = np.unique(store.domains, return_counts=True)
    return {
        "documents": dict(zip(names.tolist(), counts.tolist())),
        "validation_documents": int(store.is_validation.sum()),
        "evaluated_documents": len(evaluated),
        "tokens": {
            "train": int(lengths[~store.is_validation].sum()),
            "validation": int(lengths[store.is_validation].sum()),
            "evaluated": int(lengths[evaluated].sum()),
        },
        "bytes_per_token": float(store.num_bytes.sum() / lengths.sum()),
        "chunks": int(store.num_chunks.sum()),
        "database_chunks": len(training_chunks(store)),
        "skipped": dict(prepared.skipped),
        **({} if prepared.cut_chunks is None else {"cut_chunks": prepared.cut_chunks}),
        "near_duplicate_threshold": NEAR_DUPLICATE_SHARE,
    }
