"""The layouts of a step: tried by arithmetic, the best of them compiled, one recommended."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from errors import InputError
from planning.plans import Request, planned_row, run_of
from planning.roofline import predict
from planning.topologies import Topology, rings
from planning.workload import Run, estimated_gib, work

COMPILED_BY_SEARCH = 3
MICRO_BATCHES = (1, 2, 4, 8)


def candidates(request: Request, topology: Topology) -> list[Run]:
    """Layouts that the mesh divides and that arithmetic says fit, the fastest first; model_parallel and
    micro_batches of `request` do not count.

    Raises:
      InputError: there is none.
    """
    runs = []
    for model in range(1, min(topology.devices, 256) + 1):
        for micro_batches in MICRO_BATCHES:
            layout = dataclasses.replace(request, model_parallel=model, micro_batches=micro_batches)
            try:
                run = run_of(layout, topology)
            except InputError:
                continue
            if divides(run) and estimated_gib(run) < topology.chip.hbm_gib:
                runs.append(run)
    if not runs:
        raise InputError(
            f"By arithmetic no layout of {request.model} with a batch of {request.batch} fits {request.pods} "
            f"x {topology}. Give a larger topology, more --pods or a smaller --batch."
        )
    return sorted(runs, key=lambda run: _estimated(run, topology))


def compiled(runs: Sequence[Run], topology: Topology, model: str, artifacts: Path) -> list[dict[str, Any]]:
    """Rows of the first candidates, compiled until enough of them fit; the recommended one first."""
    rows: list[dict[str, Any]] = []
    for run in runs:
        rows.append(planned_row(run, topology, model, artifacts))
        if sum(row["fits"] for row in rows) == COMPILED_BY_SEARCH or len(rows) == 2 * COMPILED_BY_SEARCH:
            break
    return sorted(rows, key=lambda row: (not row["fits"], row["predicted_step_seconds"]))


def recommended(row: dict[str, Any]) -> str:
    """The options of a row; or that there is none."""
    if not row["fits"]:
        return "none, for none of those compiled fits."
    model = row["mesh"].split("x")[2]
    return f"--model-parallel {model} --micro-batches {row['micro_batches']}"


def _estimated(run: Run, topology: Topology) -> float:
    return predict(work(run), topology.chip, rings(topology, run.mesh)).step


def divides(run: Run) -> bool:
    """Whether heads and widths can be laid along the mesh."""
    config, mesh = run.decoder, run.mesh
    split = [config.num_heads, config.d_model, config.d_ff]
    sharded = [config.d_model]
    if run.config is not config:
        split += [run.config.encoder_num_heads, run.config.encoder_d_model]
        sharded += [run.config.encoder_d_model]
    return not any(size % mesh.model for size in split) and not any(size % mesh.data for size in sharded)
