"""RETRO from a trained dense model: the decoder is frozen, the encoder and cross-attention learn to serve it.

python -m experiments.retrofit --run runs/compare/gopher/seed-0

The paper does so with 3 % of the dense model's sequences (arXiv 2112.04426, section 4.2). Without neighbours
what comes out is the dense model itself, which is checked here bit for bit on its own held-out losses.
"""

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from command import command
from errors import InputError
from models.retro.config import SIZES, RETROConfig, copying
from parallelism.mesh import make_mesh, parse_mesh_shape
from processes.start import barrier, is_leader
from reports.comparison.retrofit import table
from storage.files import write_atomic
from studies.environment import environment, peak_flops
from studies.run_folder import claim
from studies.stages import Stages
from studies.summary import summary
from studies.trials.held_out import evaluation_path
from studies.trials.train import run_trial
from studies.trials.trained import TrainedRun, load_run
from studies.trials.trial import Trial, TrialResult
from training.checkpoints import fingerprint

PEAK_CONVENTION = (
    "MFU = tokens/s x model FLOPs per token (PaLM appendix B, without the gradients that a frozen decoder "
    "does not take) / this machine's measured float32 matrix-product rate"
)


@dataclass(frozen=True)
class Options:
    """Which dense model is given retrieval, and how long it learns to use it."""

    run: Path
    """Folder of a finished dense model, such as runs/compare/gopher/seed-0."""
    steps: int | None = None
    """Training steps. Default: as many as the dense model had."""
    initialisation: Literal["published", "copying"] = "published"
    """How cross-attention starts: as published, or as a circuit that copies (ours)."""
    mesh: str = "auto"
    """Devices as PODxDATAxMODEL: those that the dense model was trained on."""
    out: Path = Path("runs/retrofit")
    """Folder of the run; the same command goes on where it stopped."""


def retrofit(options: Options) -> None:
    """Trains, evaluates with retrieval off and on, and writes results.json into `options.out`."""
    if options.steps is not None and options.steps < 1:
        raise InputError(f"--steps {options.steps}: give a whole number of at least 1.")
    stages = Stages(options.out)
    mesh = make_mesh(parse_mesh_shape(options.mesh))
    with stages.measured("restore the dense model", may_reuse=False):
        dense = load_dense(options.run, mesh)
        dense_st = np.load(evaluation_path(options.run, None), allow_pickle=False)
    trial = dataclasses.replace(
        dense.trial,
        name=f"{dense.trial.name}-retrofit",
        config=retrofitted(dense.trial.config, options.initialisation),
        steps=options.steps or dense.trial.steps,
        pretrained=fingerprint(dense.params),
    )
    claim(options.out, dataclasses.asdict(trial))
    with stages.measured("measure the machine's peak", may_reuse=False):
        peak = peak_flops()
    with stages.measured("train and evaluate"):
        result = run_trial(trial, dense.prepared, mesh, peak, options.out, dense.params)
    require_unchanged(dense_st, result.nats["off"], options.run)
    if is_leader():
        _report(options.out, trial, dense, dense_st, result, peak, stages)
    barrier("the report is written")


def _report(
    out: Path,
    trial: Trial,
    dense: TrainedRun,
    dense_st: np.ndarray,
    result: TrialResult,
    peak: float,
    stages: Stages,
) -> None:
    """Writes what came out, and prints the table."""
    written = {
        "experiment": "retrofit",
        "command": " ".join(["python -m experiments.retrofit", *sys.argv[1:]]),
        "config": dataclasses.asdict(trial),
        "environment": {**environment(), "corpus_hash": dense.prepared.corpus_hash},
        "peak": {"flops_per_second": peak, "convention": PEAK_CONVENTION},
        "stages": stages.rows,
        **summary(trial, dense, dense_st, result),
    }
    write_atomic(out / "results.json", json.dumps(written, indent=1))
    print(table(written))
    print(f"\n{out / 'results.json'}")


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
            "or was not evaluated. Run the command that started it again: it goes on to the end."
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


if __name__ == "__main__":
    command(
        retrofit,
        Options,
        "Give a trained dense model retrieval, its own weights frozen.",
        many_processes=True,
    )
