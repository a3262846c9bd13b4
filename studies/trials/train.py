"""Trains a trial and evaluates it at its milestones, resuming from whatever is there."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from data.batches import TrainBatches
from errors import InputError
from models.decoder import Params
from models.families import build, family_of, parameter_shapes
from models.flops import retrofit_flops_per_token, train_flops_per_token
from parallelism.interface import Parallelism, Strategy
from parallelism.strategies.by_name import strategy
from processes.start import barrier, is_leader
from retrieval.neighbours.batches import Batches
from storage.sealed import load_array, save_array
from studies.prepare import Prepared
from studies.run_folder import claim
from studies.trials.held_out import evaluate, evaluation_path
from studies.trials.trial import Trial, TrialResult
from training.checkpoints import Checkpoints
from training.freezing import freeze
from training.loop import CHECKPOINTS, Training, train
from training.metrics import read_metrics
from training.objective import loss_parts, objective
from training.precision import optimiser_under
from training.spikes import SpikeRule, read_skipped

CHECKPOINTS_PER_RUN = 10


@dataclass(frozen=True)
class Upkeep:
    """How a run is kept, which changes no number but by a spike. checkpoint_every: steps, None for a tenth of
    the run. keep: so many checkpoints. spikes: what is gone back before. profile: steps that are traced.
    """

    checkpoint_every: int | None = None
    keep: int = 2
    spikes: SpikeRule | None = None
    profile: range | None = None


def run_trial(
    trial: Trial, prepared: Prepared, strategy: Strategy, peak_flops: float, folder: Path,
    upkeep: Upkeep = Upkeep(),  # noqa: B008 (frozen)
) -> TrialResult:  # fmt: skip
    """Trains and evaluates `trial` in `folder`, resuming from whatever is there. The folder then says all
    that studies.trials.trained.load_run needs.

    Args:
      strategy: what `strategy_of` gives for `trial`.

    Raises:
      InputError: the folder holds another configuration; the message names the first field that differs.
    """
    claim(folder, trial.recorded)
    if is_leader():
        prepared.save(folder)
    training, table = training_of(trial, peak_flops, upkeep), prepared.neighbours
    batches = Batches(
        TrainBatches(
            table.store, trial.batch_size, trial.length, trial.seed, strategy.rows(trial.batch_size)
        ),
        table,
        trial.config.num_neighbours,
        trial.neighbours_across_documents,
    )
    schedule = jax.jit(trial.learning_rate)
    before = 0
    for step in milestones(trial):
        training, before = dataclasses.replace(training, steps=step, first=before), step
        paths = {retrieval: evaluation_path(folder, retrieval, step, trial) for retrieval in trial.retrievals}
        missing = [retrieval for retrieval, path in paths.items() if not path.exists()]
        reached = Checkpoints(folder / CHECKPOINTS).latest() or 0
        if not missing and (step < trial.steps or reached == trial.steps):
            continue
        if missing and reached > step:
            raise InputError(
                f"{paths[missing[0]]} is missing, and training has gone on from step {step} to {reached}: it "
                f"cannot be made any more. Remove {folder} to train this trial anew."
            )
        state = train(training, strategy, batches, schedule, folder)
        for retrieval in missing:
            k = trial.config.k_evaluation if retrieval == "on" else 0
            nats_st = evaluate(trial, strategy, state.params, table, k, retrieval)
            if is_leader():
                save_array(paths[retrieval], nats_st)
    barrier(f"{folder} is written")
    return result_of(trial, folder, training, batches.train)


def training_of(trial: Trial, peak_flops: float, upkeep: Upkeep = Upkeep()) -> Training:  # noqa: B008
    """What the loop is told of `trial`; peak_flops: of the mesh, in FLOP/s."""
    flops_per_token = retrofit_flops_per_token if trial.pretrained else train_flops_per_token
    return Training(
        steps=trial.steps,
        seed=trial.seed,
        checkpoint_every=upkeep.checkpoint_every or -(-trial.steps // CHECKPOINTS_PER_RUN),
        tokens_per_step=trial.batch_size * trial.length,
        flops_per_token=flops_per_token(trial.config, trial.length, batch_size=trial.batch_size),
        peak_flops=peak_flops,
        label=f"{trial.name} seed {trial.seed}",
        configuration=dataclasses.asdict(trial.config),
        keep=upkeep.keep,
        spikes=upkeep.spikes,
        profile=upkeep.profile,
    )


def result_of(trial: Trial, folder: Path, training: Training, batches: TrainBatches) -> TrialResult:
    """What the folder of a finished trial holds."""
    skipped = read_skipped(folder)
    *before, last = (
        {
            retrieval: load_array(evaluation_path(folder, retrieval, step, trial))
            for retrieval in trial.retrievals
        }
        for step in milestones(trial)
    )
    return TrialResult(
        nats=last,
        metrics=read_metrics(folder),
        train_tokens=sum(batches.predicted_tokens(skipped.batch_number(step)) for step in range(trial.steps)),
        train_flops=training.flops_per_token * training.tokens_per_step * trial.steps,
        nats_at=dict(zip(trial.evaluate_at, before)),
    )


def milestones(trial: Trial) -> tuple[int, ...]:
    """The steps at which `trial` is evaluated, the last of training among them."""
    return *trial.evaluate_at, trial.steps


def strategy_of(trial: Trial, mesh: jax.sharding.Mesh, how: Parallelism = Parallelism()) -> Strategy:  # noqa: B008
    """How `trial` is trained on `mesh`: its model, objective and optimiser."""
    family = family_of(trial.config).name
    parts = loss_parts(trial.batch_size // how.micro_batches, trial.length, mesh.size)
    trained = objective(build(trial.config), family, trial.precision, parts, trial.z_loss)
    optimiser = optimiser_under(trial.precision, trial.optimiser, trial.seed)
    if trial.pretrained:
        trained, optimiser = freeze(parameter_shapes(trial.config.decoder).keys(), trained, optimiser)
    return strategy(trained, optimiser, mesh, how)


def started_from(params: Params, strategy: Strategy) -> Strategy:
    """`strategy` with `params` in place of those of its initial parameters that have their names. They lie on
    its mesh, and are used up.
    """

    def init(key):
        state = strategy.init(key)
        return state._replace(params={**state.params, **params})

    return dataclasses.replace(strategy, init=init)


def late_loss(metrics: list[dict]) -> float:
    """Mean training loss over the last tenth of the steps, nats per token."""
    return float(np.mean([line["nats"] for line in metrics[-max(1, len(metrics) // 10) :]]))


def typical_speed(metrics: list[dict]) -> tuple[float, float]:
    """Median tokens/s and MFU over the steps, the first left out: it waits for the compiler."""
    lines = metrics[1:] or metrics
    speed, mfu = (float(np.median([line[name] for line in lines])) for name in ("tokens_per_second", "mfu"))
    return speed, mfu
