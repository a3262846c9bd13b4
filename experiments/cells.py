"""A cell: one model trained from one seed and evaluated, in a folder of its own.

`config.json` says what the cell is and guards the folder; `data.json` names the artifacts that it was made
from; `metrics.jsonl` and `checkpoints/` are the loop's; `evaluation-*.npy` hold the loss of every held-out
token. A cell that is finished is never run again.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data.batches import Batch, TrainBatches, evaluation_batches
from errors import InputError
from evaluation.flops import retrofit_flops_per_token, train_flops_per_token
from experiments.prepare import Prepared
from experiments.run_folder import claim
from models.decoder import Neighbours, Params
from models.families import build, family_of, parameter_shapes
from models.retro.config import RETROConfig
from parallelism.interface import Parallelism, Strategy
from parallelism.processes import barrier, is_leader
from parallelism.strategies import strategy
from retrieval.neighbours import NeighbourTable
from training.checkpoints import Checkpoints
from training.freezing import freeze
from training.loop import CHECKPOINTS, Training, train
from training.metrics import Progress, read_metrics
from training.objective import loss_parts, objective
from training.precision import optimiser_under
from training.recipes import learning_rate, recipe

CHECKPOINTS_PER_RUN = 10


@dataclass(frozen=True)
class Cell:
    """What is trained on what.

    name: what is shown. config: the model's. neighbours: the table's artifact name, so that its content
    guards the folder. pretrained: the fingerprint of the parameters that a RETRO's decoder is given and
    keeps, so that only what retrieval adds is trained (RETROfit); None where everything is. recipe: the
    family whose optimiser and schedule train it, peak: their largest learning rate, z_loss: the coefficient
    of log²Z; None for the family's own. evaluate_at: steps before the last at which it is evaluated too.
    """

    name: str
    config: Any
    seed: int
    steps: int
    batch_size: int
    length: int
    precision: str
    evaluation_tokens: int
    neighbours: str
    pretrained: str | None = None
    recipe: str | None = None
    peak: float | None = None
    z_loss: float | None = None
    evaluate_at: tuple[int, ...] = ()

    @property
    def retrieves(self) -> bool:
        return isinstance(self.config, RETROConfig)

    @property
    def retrievals(self) -> tuple[str | None, ...]:
        """The values of `retrieval` that its rows carry."""
        return ("off", "on") if self.retrieves else (None,)

    @property
    def taught_by(self) -> tuple[str, int, float | None]:
        """What training.recipes.recipe and learning_rate take."""
        return self.recipe or family_of(self.config), self.steps, self.peak


@dataclass(frozen=True)
class CellResult:
    """nats: by retrieval, float32 [S, T] per held-out token. metrics: the loop's lines. nats_at: the same as
    nats, by each step of `Cell.evaluate_at`.
    """

    nats: dict[str | None, np.ndarray]
    metrics: list[dict]
    train_tokens: int
    train_flops: float
    nats_at: dict[int, dict[str | None, np.ndarray]] = field(default_factory=dict)


def run_cell(
    cell: Cell,
    prepared: Prepared,
    mesh: jax.sharding.Mesh,
    peak_flops: float,
    folder: Path,
    pretrained: Params | None = None,
    how: Parallelism = Parallelism(),  # noqa: B008 (frozen)
) -> CellResult:
    """Trains and evaluates `cell` in `folder`, going on from whatever is there. The folder then says all
    that experiments.trained.load_run needs.

    Args:
      pretrained: the parameters that `cell.pretrained` names, laid out on `mesh`. They are used up.

    Raises:
      InputError: the folder holds another configuration; the message names the first field that differs.
    """
    claim(folder, dataclasses.asdict(cell))
    if is_leader():
        prepared.save(folder)
    table = prepared.neighbours
    strategy = started_from(pretrained or {}, strategy_of(cell, mesh, how))
    batches = TrainBatches(
        table.store, cell.batch_size, cell.length, cell.seed, strategy.rows(cell.batch_size)
    )
    flops = (retrofit_flops_per_token if cell.pretrained else train_flops_per_token)(cell.config, cell.length)
    training = Training(
        steps=cell.steps,
        seed=cell.seed,
        checkpoint_every=-(-cell.steps // CHECKPOINTS_PER_RUN),
        tokens_per_step=cell.batch_size * cell.length,
        flops_per_token=flops,
        peak_flops=peak_flops,
        label=f"{cell.name} seed {cell.seed}",
        configuration=dataclasses.asdict(cell.config),
    )
    schedule = jax.jit(learning_rate(*cell.taught_by))
    k = cell.config.num_neighbours if cell.retrieves else 0
    for step in milestones(cell):
        paths = {retrieval: evaluation_path(folder, retrieval, step, cell) for retrieval in cell.retrievals}
        missing = [retrieval for retrieval, path in paths.items() if not path.exists()]
        reached = Checkpoints(folder / CHECKPOINTS).latest() or 0
        if not missing and (step < cell.steps or reached == cell.steps):
            continue
        if reached > step:
            raise InputError(
                f"{paths[missing[0]]} is missing, and training has gone on from step {step} to {reached}: it "
                f"cannot be made any more. Remove {folder} to train this cell anew."
            )
        to_here = dataclasses.replace(training, steps=step)
        state = train(to_here, strategy, lambda step: device_batch(batches(step), table, k), schedule, folder)
        for retrieval in missing:
            neighbours = evaluation_neighbours(cell.config) if retrieval == "on" else 0
            nats_st = evaluate(cell, strategy, state.params, table, neighbours, retrieval)
            if is_leader():
                save_array(paths[retrieval], nats_st)
    barrier(f"{folder} is written")
    *before, last = (
        {
            retrieval: np.load(evaluation_path(folder, retrieval, step, cell), allow_pickle=False)
            for retrieval in cell.retrievals
        }
        for step in milestones(cell)
    )
    return CellResult(
        nats=last,
        metrics=read_metrics(folder),
        train_tokens=sum(batches.predicted_tokens(step) for step in range(cell.steps)),
        train_flops=flops * training.tokens_per_step * cell.steps,
        nats_at=dict(zip(cell.evaluate_at, before)),
    )


def milestones(cell: Cell) -> tuple[int, ...]:
    """The steps at which `cell` is evaluated, the last of training among them."""
    return *cell.evaluate_at, cell.steps


def strategy_of(cell: Cell, mesh: jax.sharding.Mesh, how: Parallelism = Parallelism()) -> Strategy:  # noqa: B008
    """How `cell` is trained on `mesh`: its model, objective and optimiser."""
    family = family_of(cell.config)
    parts = loss_parts(cell.batch_size, cell.length, mesh.size)
    trained = objective(build(cell.config), family, cell.precision, parts, cell.z_loss)
    optimiser = optimiser_under(cell.precision, recipe(*cell.taught_by))
    if cell.pretrained:
        trained, optimiser = freeze(parameter_shapes(cell.config.decoder).keys(), trained, optimiser)
    return strategy(trained, optimiser, mesh, how)


def started_from(params: Params, strategy: Strategy) -> Strategy:
    """`strategy` with `params` in place of those of its initial parameters that have their names."""

    def init(key):
        state = strategy.init(key)
        return state._replace(params={**state.params, **params})

    return dataclasses.replace(strategy, init=init)


def device_batch(batch: Batch, table: NeighbourTable, k: int) -> dict[str, Any]:
    """A batch as the model takes it, with the k neighbours of each of its chunks; none where k is 0."""
    neighbours = Neighbours(*table.lookup(batch.chunks, k)) if k else None
    return {
        "tokens": batch.tokens,
        "targets": batch.targets,
        "weights": batch.weights,
        "neighbours": neighbours,
    }


def held_out(
    cell: Cell, table: NeighbourTable, rows: np.ndarray | None = None
) -> Iterator[tuple[Batch, np.ndarray]]:
    """The evaluation batches of `cell`, or some rows of each, with the document of every token: the same for
    every model of a comparison.
    """
    return evaluation_batches(table.store, cell.batch_size, cell.length, cell.evaluation_tokens, rows)


def evaluate(
    cell: Cell, strategy: Strategy, params: Params, table: NeighbourTable, k: int, label: str | None = None
) -> np.ndarray:
    """float32 [S, T]: the loss of every held-out token with k neighbours, zero where nothing is predicted."""
    batches = list(held_out(cell, table, strategy.rows(cell.batch_size)))
    kind = f" retrieval {label}" if label else ""
    progress = Progress(f"{cell.name} seed {cell.seed}{kind}: evaluation", len(batches))
    results = []
    for done, (batch, _) in enumerate(batches, start=1):
        results.append(np.asarray(strategy.evaluate(params, device_batch(batch, table, k))))
        progress.advance(done)
    progress.close()
    return np.concatenate(results)


def evaluation_neighbours(config: RETROConfig) -> int:
    """k in evaluation and generation."""
    return config.evaluation_neighbours or config.num_neighbours


def evaluation_path(
    folder: Path, retrieval: str | None, step: int | None = None, cell: Cell | None = None
) -> Path:
    """Where the held-out losses of a cell lie; step: one of `cell`'s milestones, None for the last."""
    at = "" if step is None or step == cell.steps else f"-step-{step}"
    return folder / f"evaluation-{retrieval or 'dense'}{at}.npy"


def save_array(path: Path, array: np.ndarray) -> None:
    """`array` in a `.npy` file, whole or not at all."""
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        np.save(file, array, allow_pickle=False)
    partial.replace(path)


def typical_speed(metrics: list[dict]) -> tuple[float, float]:
    """Median tokens/s and MFU over the steps, the first left out: it waits for the compiler."""
    lines = metrics[1:] or metrics
    return tuple(float(np.median([line[name] for line in lines])) for name in ("tokens_per_second", "mfu"))
