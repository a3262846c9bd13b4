"""The published runs, and one planned run as a row: compiled, and predicted from what was compiled."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planning.ahead_of_time import Compiled, compile_step
from planning.collectives import Collective, totals
from planning.roofline import predict
from planning.topologies import LIBTPU, Topology, rings
from planning.workload import Run, work
from processes.start import code_hashes
from storage.artifacts import artifact
from storage.files import write_atomic

# PaLM table 3.
PUBLISHED_MFU = {"palm/540b": 46.2, "gopher/280b": 32.5}
COMPILED = "compiled.json"
COMPILED_FROM = ("models/", "parallelism/", "training/", "planning/ahead_of_time")


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
