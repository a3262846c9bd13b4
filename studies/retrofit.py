"""RETRO around a trained dense model whose weights stay frozen (arXiv 2112.04426, section 4.2): what is
loaded, what is trained, what must not change, and what came out.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from errors import InputError
from evaluation.bits_per_byte import bits_per_byte
from judging.documents import documents_by_group
from judging.intervals import ratio
from models.families import count, parameter_shapes
from models.retro.config import SIZES, RETROConfig, copying
from studies.summary import bounds
from studies.trials.held_out import evaluated_documents, evaluation_path
from studies.trials.train import typical_speed
from studies.trials.trained import TrainedRun, load_run
from studies.trials.trial import Trial, TrialResult


def load_dense(folder: Path, mesh: Any) -> TrainedRun:
    """The finished dense run in `folder`.

    Raises:
      InputError: there is none, it retrieves already, or it was not trained to its end and evaluated.
    """
    run = load_run(folder, mesh)
    if run.trial.retrieves:
        raise InputError(
            f"{folder} holds {run.trial.name}, which retrieves already. Give --run the folder of a dense "
            "model, such as runs/compare/gopher/seed-0."
        )
    if run.step < run.trial.steps or not evaluation_path(folder, None).exists():
        raise InputError(
            f"The dense run in {folder} is not finished: it stands at step {run.step} of {run.trial.steps}, "
            "or was not evaluated. Run the command that started it again: it resumes."
        )
    return run


def retrofitted(decoder: Any, initialisation: str) -> RETROConfig:
    """A RETRO around `decoder`, a dense configuration.

    Encoder and cross-attention layers are those of RETRO's size with a decoder of the same depth and width
    (`gopher/tiny` and `palm/tiny` become `retro/tiny`). Where RETRO has none, they are as published, which
    is the same at every size: two layers of 896, cross-attention in every third layer from the sixth, or
    from the last of a shallower model.
    """
    alike = [
        size
        for size in SIZES.values()
        if (size.decoder.num_layers, size.decoder.d_model) == (decoder.num_layers, decoder.d_model)
    ]
    if alike:
        config = dataclasses.replace(alike[0], decoder=decoder)
    else:
        first = min(6, decoder.num_layers)
        config = RETROConfig(decoder, cca_layers=tuple(range(first, decoder.num_layers + 1, 3)))
    return copying(config) if initialisation == "copying" else config


def require_unchanged(dense_st: np.ndarray, off_st: np.ndarray, folder: Path) -> None:
    """Raises InputError unless retrieval off has the dense model's held-out losses [S, T], bit for bit."""
    if dense_st.tobytes() != off_st.tobytes():
        different = int((dense_st != off_st).sum())
        raise InputError(
            f"Retrieval off is not the dense model of {folder} bit for bit: {different:,} of "
            f"{dense_st.size:,} held-out losses differ, by at most {np.abs(dense_st - off_st).max():.1e}. "
            "The decoder is frozen, so this machine adds up in another order: give --mesh the devices that "
            "the dense model was evaluated on, use the same versions, and another --out."
        )


def summary(trial: Trial, dense: TrainedRun, dense_st: np.ndarray, result: TrialResult) -> dict[str, Any]:
    """Rows of the dense model and of both forms of its RETROfit, and the paired differences.

    dense_st: losses [S, T] of the dense model's held-out tokens.
    """
    documents = evaluated_documents(trial, dense.prepared.neighbours)
    store = dense.prepared.store
    num_bytes = store.num_bytes[documents.ids]
    text = documents_by_group(num_bytes, store.independent_groups(documents.ids))
    nats = {form: documents.nats(nats_st) for form, nats_st in (("dense", dense_st), *result.nats.items())}
    parameters = {"dense": count(parameter_shapes(dense.trial.config))}
    parameters["off"] = parameters["on"] = count(parameter_shapes(trial.config))
    tokens_per_second, mfu = typical_speed(result.metrics)
    cost = {
        "trained_parameters": parameters["on"] - parameters["dense"],
        "train_tokens": result.train_tokens, "train_flops": result.train_flops,
        "tokens_per_second": tokens_per_second, "mfu": mfu,
    }  # fmt: skip
    rows = [
        {
            "model": dense.trial.name if form == "dense" else trial.name,
            "retrieval": None if form == "dense" else form,
            "parameters": parameters[form],
            "bits_per_byte": bits_per_byte(nats_d, num_bytes),
            "interval": bounds(ratio(nats_d, text).interval),
            **({} if form == "dense" else cost),
        }
        for form, nats_d in nats.items()
    ]
    comparisons = [
        {
            "a": form, "b": "dense",
            "difference": bits_per_byte(nats[form] - nats["dense"], num_bytes),
            "over_groups": bounds(ratio(nats[form] - nats["dense"], text).interval),
        }
        for form in ("off", "on")
    ]  # fmt: skip
    return {"rows": rows, "comparisons": comparisons, "evaluated_documents": len(documents.ids)}
