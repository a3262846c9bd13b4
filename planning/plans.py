"""One planned run as a row: compiled, and predicted from what was compiled. And the published runs."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.families import configuration, family_of
from planning.ahead_of_time import Compiled, compile_step, planned
from planning.collectives import Collective, totals
from planning.roofline import predict
from planning.topologies import LIBTPU, Topology, mesh_shape, parse_topology, rings
from planning.workload import Run, work
from processes.start import code_hashes
from storage.artifacts import artifact
from storage.files import write_atomic

# PaLM table 3.
PUBLISHED_MFU = {"palm/540b": 46.2, "gopher/280b": 32.5}
COMPILED = "compiled.json"
COMPILED_FROM = ("models/", "parallelism/", "training/", "planning/ahead_of_time")


@dataclass(frozen=True)
class Request:
    """A model, a batch, and the chips that it is to be trained on."""

    model: str = "palm/540b"
    """FAMILY/SIZE, such as palm/540b."""
    topology: str = "v4:12x16x16"
    """GENERATION:SHAPE of one pod in chips, such as v4:12x16x16 or v3:32x32."""
    pods: int = 1
    """Slices of that topology, joined by the data centre's network."""
    model_parallel: int = 1
    """Devices that share every layer's matrices; the rest of a pod is fully sharded data parallel."""
    batch: int = 512
    """Sequences of a step, over all pods."""
    length: int = 2048
    """Tokens of a sequence."""
    micro_batches: int = 1
    """Parts that the batch is cut into, one after another."""


@dataclass(frozen=True)
class Published:
    """A run as published, or as near as it can be planned. chips: what the paper says of them."""

    model: str
    topology: str
    pods: int
    model_parallel: int
    batch: int
    chips: str


NOT_PUBLISHED = "chosen; no published count was at hand"
PUBLISHED_RUNS = (
    Published("palm/8b", "v4:4x8x8", 1, 4, 512, NOT_PUBLISHED),
    Published("palm/62b", "v4:8x8x8", 1, 8, 1024, NOT_PUBLISHED),
    Published("palm/540b", "v4:12x16x16", 2, 12, 2048, "12 x 256 chips in each of two pods (section 4)"),
    Published("gopher/7.1b", "v3:16x16", 1, 4, 1024, NOT_PUBLISHED),
    Published("gopher/280b", "v3:32x32", 4, 16, 3072, "4096 chips (PaLM table 3), a pipeline over four pods"),
    Published("retro/7.5b", "v4:4x8x8", 1, 4, 1024, NOT_PUBLISHED),
)  # fmt: skip


def run_of(request: Request, topology: Topology) -> Run:
    """The step that is asked for, in the precision of the family's paper.

    Raises:
      InputError: an unknown model, or one of the numbers does not divide as it must.
    """
    config = configuration(request.model)
    shape = mesh_shape(topology, request.pods, request.model_parallel)
    precision = family_of(config).precision
    return planned(Run(config, shape, request.batch, request.length, request.micro_batches, precision))


def published_rows(artifacts: Path) -> Iterator[dict[str, Any]]:
    """The rows of PUBLISHED_RUNS, each once it is compiled."""
    for case in PUBLISHED_RUNS:
        topology = parse_topology(case.topology)
        run = run_of(Request(case.model, case.topology, case.pods, case.model_parallel, case.batch), topology)
        yield planned_row(run, topology, case.model, artifacts, case.chips)


def planned_row(run: Run, topology: Topology, model: str, artifacts: Path, chips: str = "") -> dict[str, Any]:
    """One row of results.json: compiled, unless this code has compiled it before, and predicted from that."""

    def build(folder: Path) -> None:
        compiled = compile_step(run, topology, f"{model} for {run.mesh.pod} x {topology}, {run.mesh}")
        write_atomic(folder / COMPILED, json.dumps(dataclasses.asdict(compiled)))

    code = {path: sha for path, sha in code_hashes().items() if path.startswith(COMPILED_FROM)}
    inputs = {"code": code, "libtpu": LIBTPU, "topology": str(topology), "run": dataclasses.asdict(run)}
    folder = artifact(artifacts, "compiled", inputs, build)
    values = json.loads((folder / COMPILED).read_text(encoding="utf-8"))
    values["collectives"] = [
        Collective(**one | {"axes": tuple(one["axes"])}) for one in values["collectives"]
    ]
    return row_of(run, topology, model, Compiled(**values), chips)


def row_of(run: Run, topology: Topology, model: str, compiled: Compiled, chips: str = "") -> dict[str, Any]:
    """See `planned_row`. Without a program, where it does not fit, what it would send is estimated."""
    sent: dict[str, float] | None = None
    if compiled.fits:
        sent = {}
        for one in compiled.collectives:
            # A group along two axes goes at the pace of the slower, which is the one between pods if it is
            # there.
            axis = "pod" if "pod" in one.axes else one.axes[0]
            sent[axis] = sent.get(axis, 0.0) + one.sent
    prediction = predict(work(run, sent), topology.chip, rings(topology, run.mesh))
    rows_of_table = -(-run.decoder.vocab_size // run.decoder.vocab_multiple) * run.decoder.vocab_multiple
    return {
        "model": model,
        "topology": str(topology),
        "pods": run.mesh.pod,
        "chips": topology.chips * run.mesh.pod,
        "chips_note": chips,
        "mesh": str(run.mesh),
        "batch": run.batch,
        "length": run.length,
        "micro_batches": run.micro_batches,
        "precision": run.precision,
        "vocab_size": run.decoder.vocab_size,
        "vocab_rows": rows_of_table,
        "fits": compiled.fits and compiled.peak_gib <= topology.chip.hbm_gib,
        "peak_gib": compiled.peak_gib,
        "arguments_gib": compiled.arguments_gib,
        "temporaries_gib": compiled.temporaries_gib,
        "hbm_gib": topology.chip.hbm_gib,
        "compile_seconds": compiled.seconds,
        "compile_cpu_seconds": compiled.cpu_seconds,
        "collectives": totals(compiled.collectives),
        "compute_seconds": prediction.compute,
        "memory_seconds": prediction.memory,
        "transfer_seconds": dict(prediction.transfers),
        "exchange_seconds": prediction.exchange,
        "exchange_hidden": prediction.exchange_hidden,
        "predicted_step_seconds": prediction.step,
        "predicted_mfu": 100 * prediction.mfu,
        "predicted_hfu": 100 * prediction.hfu,
        "published_mfu": PUBLISHED_MFU.get(model),
    }
