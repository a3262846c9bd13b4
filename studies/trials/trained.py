"""A finished trial's folder back as a model: what `studies.trials.train` left, and nothing guessed."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import jax

from errors import InputError
from models.decoder import Model, Params
from models.families import FAMILIES, build
from parallelism.mesh import MeshShape, make_mesh
from storage.json_files import check
from storage.sealed import read_sealed
from studies.prepare import FILE_NAME as DATA
from studies.prepare import Prepared, reopen
from studies.run_folder import FILE_NAME
from studies.trials.train import strategy_of
from studies.trials.trial import Trial
from training.checkpoints import Checkpoints
from training.loop import CHECKPOINTS

MODEL_CONFIGS = tuple(family.configuration for family in FAMILIES.values())


@dataclass(frozen=True)
class TrainedRun:
    """step: the updates that made `params`, which are as the trial's precision keeps them; less than
    trial.steps where training was stopped. prepared: the tokenizer and the data it was trained on.
    """

    folder: Path
    trial: Trial
    model: Model
    step: int
    params: Params
    prepared: Prepared


def load_run(folder: Path, mesh: jax.sharding.Mesh | None = None) -> TrainedRun:
    """The newest checkpoint of the trial in `folder`, laid out on `mesh` (default: the first device alone).

    Raises:
      InputError: `folder` is no trial, has no checkpoint yet, holds a configuration that does not exist, or
        one that the checkpoint was not made with.
    """
    trial = read_trial(folder)
    prepared = reopen(folder)
    # A trial that does not retrieve may be named by its store alone.
    if trial.neighbours not in (prepared.neighbours_name, prepared.store_name):
        raise InputError(
            f"{folder / DATA} is of another run: it names the neighbour table {prepared.neighbours_name}, "
            f"and {folder / FILE_NAME} says {trial.neighbours}. Put the run's own back, or run the command "
            "that made it again: it writes the file anew and keeps what is trained."
        )
    there = folder / CHECKPOINTS
    checkpoints = (
        Checkpoints(there, configuration=dataclasses.asdict(trial.config)) if there.is_dir() else None
    )
    if checkpoints is None or checkpoints.latest() is None:
        raise InputError(
            f"The run in {folder} has no checkpoint yet. Run the command that started it again: it resumes."
        )
    mesh = mesh or make_mesh(MeshShape(), jax.devices()[:1])
    step, state = checkpoints.restore(strategy_of(trial, mesh).like)
    return TrainedRun(folder, trial, build(trial.config), step, state.params, prepared)


def load_start(folder: Path, config: Any, mesh: jax.sharding.Mesh) -> TrainedRun:
    """The run in `folder`, from whose parameters a model of `config` is to start.

    Raises:
      InputError: what `load_run` raises, or its parameters are of another model; the message names the field.
    """
    run = load_run(folder, mesh)
    theirs, ours = _what_parameters_mean(run.trial.config), _what_parameters_mean(config)
    for name in sorted(theirs.keys() | ours.keys()):
        if theirs.get(name) != ours.get(name):
            raise InputError(
                f"--from {folder}: its {name} is {theirs.get(name)}, and that of this model "
                f"{ours.get(name)}. Give a run of the same model, or the same fields with --set."
            )
    return run


def _what_parameters_mean(config: Any) -> dict[str, Any]:
    fields = dataclasses.asdict(config)
    fields |= {f"decoder.{name}": value for name, value in fields.pop("decoder", {}).items()}
    others = ("remat", "max_length")
    return {name: value for name, value in fields.items() if name.split(".")[-1] not in others}


def read_trial(folder: Path) -> Trial:
    """The trial that `folder` says it belongs to."""
    path = folder / FILE_NAME
    if below := _trials_below(folder):
        raise InputError(
            f"{folder} holds no model itself, but folders below it do. Give one of these: "
            f"{', '.join(map(str, below))}."
        )
    if not path.is_file():
        raise InputError(
            f"There is no run at {folder}: {path} does not exist. Give a folder that a training command "
            "wrote, such as runs/compare/retro/seed-0."
        )
    try:
        values = read_sealed(path)
        check(values, {})
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}). Restore it, or train the run anew.") from error
    values.pop("rounding", None)
    trial = rebuilt(values, (Trial,), path)
    across = trial.retrieves and "neighbours_across_documents" not in values  # see Trial.recorded
    return dataclasses.replace(trial, neighbours_across_documents=True) if across else trial


def rebuilt(values: Any, classes: Collection[type], path: Path) -> Any:
    """The dataclass among `classes` whose fields are closest to those of `values`, which `dataclasses.asdict`
    and JSON made of it; mappings inside it become model configurations. `path` is what messages name.
    """
    if isinstance(values, list):
        return tuple(values)
    if not isinstance(values, dict):
        return values
    closest = max(classes, key=lambda form: -len(values.keys() ^ _fields(form)))
    unknown, missing = values.keys() - _fields(closest), _required(closest) - values.keys()
    for problem, names in (("unknown", unknown), ("missing", missing)):
        if names:
            raise InputError(
                f"{path} is not a configuration of this version: {', '.join(sorted(names))} "
                f"{'is' if len(names) == 1 else 'are'} {problem} among the fields of {closest.__name__}. Use "
                "the version that made the run, or train it anew in another folder."
            )
    try:
        check(values, {f"{name}?": _form(hint) for name, hint in get_type_hints(closest).items()})
        fields = {name: rebuilt(value, MODEL_CONFIGS, path) for name, value in values.items()}
        return closest(**fields)
    except ValueError as error:
        raise InputError(
            f"{path} is no configuration: {error}. Restore it, or train the run anew."
        ) from error
    except InputError as error:
        raise error if str(error).startswith(str(path)) else InputError(f"{path}: {error}") from error


def _form(hint: Any) -> Any:
    """The form (storage.json_files) that a field of this type has in JSON."""
    if hint in (bool, str, float):
        return hint
    if hint is int:
        return _not_negative
    if get_origin(hint) is tuple:
        return [int]
    if type(None) in (choice := get_args(hint)):
        return (int if int in choice else float if float in choice else str, None)
    return {}  # a model's configuration


def _not_negative(value: Any) -> None:
    check(value, int)
    if value < 0:
        raise ValueError("a number that is not negative is due")


def _fields(form: type) -> set[str]:
    return {field.name for field in dataclasses.fields(form)}


def _required(form: type) -> set[str]:
    return {field.name for field in dataclasses.fields(form) if field.default is dataclasses.MISSING}


def _trials_below(folder: Path) -> list[Path]:
    return sorted(path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{FILE_NAME}"))
