"""What does a trained dense model gain when it is given retrieval, its own weights frozen (RETROfit)?

python -m experiments.retrofit --run runs/compare/gopher/seed-0

The encoder and cross-attention learn to serve the decoder; the paper does so with 3 % of the dense model's
sequences (arXiv 2112.04426, section 4.2). Must reach: without neighbours the dense model's own held-out
losses, bit for bit, which is checked.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from command import command, require_positive
from parallelism.mesh import make_mesh, parse_mesh_shape
from processes.start import barrier, is_leader
from reports.comparison.retrofit import table
from storage.sealed import load_array
from studies.environment import peak_facts, peak_flops
from studies.prepare import retrieving
from studies.results_file import write_results
from studies.retrofit import load_dense, require_unchanged, retrofitted, summary
from studies.run_folder import require_free, sole
from studies.stages import Stages
from studies.trials.held_out import evaluation_path
from studies.trials.train import run_trial, started_from, strategy_of
from training.checkpoints import fingerprint, require_plain


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
    keys: Literal["bert", "tfidf"] = "bert"
    """What chunks are found by, where the dense model was trained on a text without neighbours."""
    encoder: str | None = None
    """BERT that embeds chunks there. Default: the MiniLM installed with the project."""
    index: str = "auto"
    """FAISS factory string there."""
    out: Path = Path("runs/retrofit")
    """Folder of the run; the same command resumes where it stopped."""


def retrofit(options: Options) -> None:
    """Trains, evaluates with retrieval off and on, and writes results.json into `options.out`."""
    require_positive(options, "steps")
    require_plain(options.out)
    stages = Stages(options.out)
    mesh = make_mesh(parse_mesh_shape(options.mesh))
    with stages.measured("restore the dense model", may_reuse=False):
        dense = load_dense(options.run, mesh)
        dense_st = load_array(evaluation_path(options.run, None))
    config = retrofitted(dense.trial.config, options.initialisation)
    prepared = dense.prepared
    if prepared.neighbours_name is None:
        prepared = retrieving(
            prepared, stages, config.most_neighbours, options.keys, options.encoder, options.index
        )
    trial = dataclasses.replace(
        dense.trial,
        name=f"{dense.trial.name}-retrofit",
        config=config,
        neighbours=prepared.neighbours.path.name,
        steps=options.steps or dense.trial.steps,
        pretrained=fingerprint(dense.params),
        evaluate_at=(),  # of the dense model's own steps
        start=None,
    )
    require_free(options.out, trial.recorded)
    with sole(options.out):
        with stages.measured("measure the machine's peak", may_reuse=False):
            peak = peak_flops()
        with stages.measured("train and evaluate"):
            strategy = started_from(dense.params, strategy_of(trial, mesh))
            result = run_trial(trial, prepared, strategy, peak, options.out)
        require_unchanged(dense_st, result.nats["off"], options.run)
        _report(options, stages, trial, dense, dense_st, result, peak)


def _report(options, stages, trial, dense, dense_st, result, peak):
    """Writes what came out, and prints the table."""
    if is_leader():
        content = {
            "config": dataclasses.asdict(trial),
            "peak": peak_facts(peak),
            "stages": stages.rows,
            **summary(trial, dense, dense_st, result),
        }
        path = options.out / "results.json"
        corpus_hash = dense.prepared.corpus_hash
        print(table(write_results(path, "retrofit", content, corpus_hash=corpus_hash)))
        print(f"\n{path}")
    barrier("the report is written")


if __name__ == "__main__":
    description = "Give a trained dense model retrieval, its own weights frozen."
    command(retrofit, Options, description, many_processes=True)
