"""From rows to results.json: prepares the text, trains every cell that a table needs, reads them as its rows
ask, and writes down what came out. Judging it is experiments.tables' work.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.artifacts import write_atomic
from errors import InputError
from evaluation.bits_per_byte import document_nats
from evaluation.flops import retrofit_flops_per_token, train_flops_per_token
from experiments.cell_worker import COST, Reading, Task, reading_path
from experiments.cells import Cell, evaluation_path, held_out, typical_speed
from experiments.databases import table_for
from experiments.environment import environment, peak_flops
from experiments.grid import cell_folder, failure, finished, number_of_workers, run_grid
from experiments.prepare import Prepared, Text, prepare
from experiments.presets import PEAK_CONVENTION, PRESETS, Preset
from experiments.run_folder import sole
from experiments.stages import Stages
from experiments.summary import corpus_facts
from experiments.trained import load_run
from experiments.variants import MOST_NEIGHBOURS, Variant
from models.families import count, family_of, parameter_shapes, with_decoder_fields
from models.retro.config import RETROConfig
from training.checkpoints import fingerprint
from training.metrics import read_metrics

LAYOUT = 1
TUNING_SEED = 1000  # of no table


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What every table of rows may be told."""

    preset: str = "default"
    """Budget of a cell: `default`, or `smoke` for the same path in minutes."""
    corpus: str = "stdlib"
    """`stdlib`, a path, a quoted glob, or hf:NAME[:CONFIG]."""
    seeds: int = 3
    """Number of seeds of every row."""
    steps: int | None = None
    """Training steps of a cell."""
    rows: tuple[str, ...] = ()
    """Rows to run, beside the reference and what they are compared with. Default: all."""
    workers: int | None = None
    """Cells trained at once, each on a core of its own. Default: one per core, or one per accelerator."""
    artifacts: Path = Path("runs/artifacts")
    """Folder of token stores and neighbour tables, shared by runs."""
    cells: Path = Path("runs/cells")
    """Folder of trained cells, shared by all tables: what is finished is never run again."""


class Study:
    """The rows of one table, being run."""

    def __init__(self, options: StudyOptions, rows: Sequence[Variant], prepared: Prepared, peak: float):
        self.options, self.prepared, self.peak = options, prepared, peak
        self.preset = resolved(options)
        self.rows = {row.name: row for row in rows}
        self.peaks: dict[str, float] = {}  # of the rows that are tuned, once they are

    def trained(self) -> list[Variant]:
        return [row for row in self.rows.values() if row.read is None]

    def task(self, row: Variant, seed: int, peak: float | None = None) -> Task:
        """The cell of `row` from `seed`, with all readings that rows want of it."""
        prepared = dataclasses.replace(
            self.prepared,
            neighbours_name=table_for(self.prepared, row.keys, MOST_NEIGHBOURS),
        )
        training = dict(row.training)
        if row.peaks:
            training["peak"] = self.peaks[row.name] if peak is None else peak
        pretrained = None
        if row.retrofit_of:
            pretrained = self.task(self.rows[row.retrofit_of], seed).folder
            training["pretrained"] = fingerprint(load_run(pretrained).params)
        config = with_decoder_fields(
            row.config, vocab_size=self.preset.vocab_size, max_length=self.preset.length
        )
        retrieves = isinstance(config, RETROConfig)
        fields = {
            "name": row.name, "config": config, "seed": seed, "steps": self.preset.steps,
            "batch_size": self.preset.batch_size, "length": self.preset.length, "precision": "float32",
            "evaluation_tokens": self.preset.evaluation_tokens,
            "neighbours": prepared.neighbours_name if retrieves else prepared.store_name,
        }  # fmt: skip
        cell = Cell(**fields | training)
        readings = [
            self.reading(other)
            for other in self.rows.values()
            if other.read is not None and other.read.of == row.name
        ]
        wanted = tuple(reading for reading in readings if reading is not None) if seed < TUNING_SEED else ()
        return Task(cell, cell_folder(self.options.cells, cell), prepared, wanted, pretrained)

    def reading(self, row: Variant) -> Reading | None:
        """What `row` reads anew; None for what every cell is evaluated on anyway."""
        read = row.read
        table = None
        if read.random or read.share is not None or read.nprobe is not None:
            how = {"share": read.share, "nprobe": read.nprobe}
            table = table_for(self.prepared, "random" if read.random else "bert", MOST_NEIGHBOURS, **how)
        length = None if read.longer is None else read.longer * self.preset.length
        reading = Reading(read.k, table, length)
        return None if reading == Reading() else reading

    def run(self, workers: int, extra_seeds: Sequence[int] = ()) -> None:
        """Trains what can be trained at once, seed by seed; then what needs another row's result.

        extra_seeds: of the reference alone, for the null check.
        """
        seeds = range(self.options.seeds)
        rows = self.trained()
        at_once = [row for row in rows if not row.peaks and not row.retrofit_of]
        tasks = [self.task(row, TUNING_SEED, peak) for row in rows for peak in row.peaks if row.peaks[1:]]
        tasks += [self.task(row, seed) for seed in seeds for row in at_once]
        tasks += [self.task(rows[0], seed) for seed in extra_seeds]
        run_grid(tasks, workers, self.peak, self.options.cells)
        for row in rows:
            if row.peaks:
                self.peaks[row.name] = self.best_peak(row)
        ready = [
            self.task(row, seed)
            for seed in seeds
            for row in rows
            if row.peaks or (row.retrofit_of and finished(self.task(self.rows[row.retrofit_of], seed)))
        ]
        run_grid(ready, workers, self.peak, self.options.cells)

    def best_peak(self, row: Variant) -> float:
        """The peak with the lowest training loss over the last tenth, from a seed of no table."""
        return min(row.peaks, key=lambda peak: self.last_loss(self.task(row, TUNING_SEED, peak)))

    def last_loss(self, task: Task) -> float:
        if not finished(task):
            return float("inf")
        lines = read_metrics(task.folder)
        return float(np.mean([line["nats"] for line in lines[-max(1, len(lines) // 10) :]]))

    def results(self, experiment: str, null_seeds: Sequence[int] = ()) -> dict[str, Any]:
        """Everything that is known, in the layout that experiments.tables reads."""
        first = self.task(next(iter(self.rows.values())), 0)
        documents_st = np.concatenate([d for _, d in held_out(first.cell, self.prepared.neighbours)])
        evaluated = np.unique(documents_st[documents_st >= 0])
        store = self.prepared.store
        written = {
            "experiment": experiment,
            "layout": LAYOUT,
            "command": " ".join([f"python -m experiments.{experiment.split()[0]}", *sys.argv[1:]]),
            "config": {**dataclasses.asdict(self.preset), "preset": self.options.preset,
                       "corpus": self.options.corpus, "seeds": self.options.seeds},
            "environment": {**environment(), "corpus_hash": self.prepared.corpus_hash},
            "peak": {"flops_per_second": self.peak, "convention": PEAK_CONVENTION},
            "corpus": corpus_facts(self.prepared, evaluated),
            "documents": [
                {
                    "source": str(store.sources[d]), "domain": str(store.domains[d]),
                    "bytes": int(store.num_bytes[d]), "shared_ngrams": float(store.shared_ngrams[d]),
                }
                for d in evaluated
            ],
            "rows": [self.row(row, evaluated, documents_st) for row in self.rows.values()],
            "null": None,
        }  # fmt: skip
        if null_seeds:
            reference = next(iter(self.rows.values()))
            cells = [self.cell(reference, seed, evaluated, documents_st) for seed in null_seeds]
            written["null"] = {"of": reference.name, "cells": cells}
        return written

    def row(self, row: Variant, evaluated: np.ndarray, documents_st: np.ndarray) -> dict[str, Any]:
        cells = [self.cell(row, seed, evaluated, documents_st) for seed in range(self.options.seeds)]
        source = self.rows[row.read.of] if row.read else row
        config, cell = source.config, self.task_or_plan(source, 0).cell
        flops = (retrofit_flops_per_token if source.retrofit_of else train_flops_per_token)(
            cell.config, cell.length
        )
        step = row.read.step if row.read and row.read.step else cell.steps
        tokens = step * cell.batch_size * cell.length
        note = row.note
        if row.peaks:
            tried = ", ".join(f"{peak:g}" for peak in row.peaks)
            note += f"; peak learning rate {self.peaks[row.name]:g}, the best of {tried} on another seed"
        retrieves = isinstance(config, RETROConfig)
        off = bool(row.read and row.read.off)
        numbers = {"steps": step, "tokens": tokens, "length": cell.length, **row.facts}
        if retrieves:
            numbers |= {"k": 0 if off else cell.config.evaluation_neighbours or cell.config.num_neighbours}
            numbers |= {"database": 1.0}
        if row.read:
            said = {"k": row.read.k, "database": row.read.share}
            numbers |= {name: value for name, value in said.items() if value is not None}
            numbers |= {"length": row.read.longer * cell.length} if row.read.longer else {}
        return {
            "name": row.name, "group": row.group, "against": row.against, "change": dict(row.change),
            "note": note.strip("; "),
            "paper": row.paper and dataclasses.asdict(row.paper),
            "facts": {
                "family": family_of(config),
                "size": self.preset.size,
                "retrieval": ("off" if off else "on") if retrieves else None,
                "initialisation": config.cca_initialisation if retrieves else None,
                **numbers,
            },
            "parameters": count(parameter_shapes(cell.config)),
            "train_tokens": tokens, "train_flops": flops * tokens,
            "cells": cells,
        }  # fmt: skip

    def task_or_plan(self, row: Variant, seed: int) -> Task:
        """The task of `row`, or what it would be if the cell that it starts from had been trained."""
        if row.retrofit_of and not finished(self.task(self.rows[row.retrofit_of], seed)):
            row = dataclasses.replace(row, retrofit_of=None, training={**row.training, "pretrained": "-"})
        return self.task(row, seed)

    def cell(
        self, row: Variant, seed: int, evaluated: np.ndarray, documents_st: np.ndarray
    ) -> dict[str, Any]:
        source = self.rows[row.read.of] if row.read else row
        task = self.task_or_plan(source, seed)
        record = {
            "seed": seed, "cell": task.folder.name, "status": "finished", "reason": None,
            "last_finite": None, "nats": None, "nats_off": None, "tokens_per_second": None, "mfu": None,
            "peak_bytes": None, "seconds": None,
        }  # fmt: skip
        if not finished(task):
            known = failure(task) or {
                "status": "failed", "reason": "the cell that it starts from is not finished",
                "last_finite": None,
            }  # fmt: skip
            return record | known
        num_documents = self.prepared.store.num_documents
        step = row.read.step if row.read else None

        def by_document(retrieval):
            path = evaluation_path(task.folder, retrieval, step, task.cell)
            nats_st = np.load(path, allow_pickle=False)
            return document_nats(nats_st, documents_st, num_documents)[evaluated].tolist()

        reading = self.reading(row) if row.read else None
        if reading is not None:
            nats_d = np.load(reading_path(task.folder, reading), allow_pickle=False)[evaluated].tolist()
        elif row.read and row.read.off:
            nats_d = by_document("off")
        else:
            nats_d = by_document(task.cell.retrievals[-1])
        off = task.cell.retrieves and not (row.read and (row.read.off or row.read.longer))
        lines = read_metrics(task.folder)
        tokens_per_second, mfu = typical_speed(lines)
        cost = json.loads((task.folder / COST).read_text(encoding="utf-8"))
        return record | {
            "nats": nats_d, "nats_off": by_document("off") if off else None,
            "tokens_per_second": tokens_per_second, "mfu": mfu,
            "peak_bytes": cost["peak_bytes"], "seconds": cost["train_seconds"],
        }  # fmt: skip


def resolved(options: StudyOptions) -> Preset:
    """The preset with the steps that were asked for.

    Raises:
      InputError: no such preset; steps or seeds below 1.
    """
    if options.preset not in PRESETS:
        raise InputError(f"There is no --preset {options.preset}; choose one of {', '.join(PRESETS)}.")
    for name in ("steps", "seeds"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} {value}: give a whole number of at least 1.")
    preset = PRESETS[options.preset]
    return preset if options.steps is None else dataclasses.replace(preset, steps=options.steps)


def chosen(rows: Sequence[Variant], names: Sequence[str]) -> list[Variant]:
    """The rows of these names with the first of all, those that they are compared with, and those that they
    read or start from; all where no name is given.

    Raises:
      InputError: an unknown name; the message lists the known ones.
    """
    known = {row.name: row for row in rows}
    if unknown := [name for name in names if name not in known]:
        raise InputError(
            f"There is no row {unknown[0]!r} in this table. Its rows are: {', '.join(map(repr, known))}."
        )
    wanted, todo = {rows[0].name}, list(names or known)
    while todo:
        row = known[todo.pop()]
        wanted.add(row.name)
        needs = [row.against, row.retrofit_of, row.read and row.read.of]
        todo += [name for name in needs if name and name not in wanted]
    return [row for row in rows if row.name in wanted]


def run_study(
    experiment: str, options: StudyOptions, rows: Sequence[Variant], out: Path, null_check: bool = False
) -> dict[str, Any]:
    """Runs `rows` and writes results.json into `out`; returns what it holds.

    null_check: whether the reference is also trained from as many other seeds.
    """
    preset = resolved(options)
    rows = chosen(rows, options.rows)
    workers = number_of_workers(options.workers)
    with sole(out):
        stages = Stages(out, options.artifacts)
        text = Text(
            options.corpus, preset.corpus_bytes, "palm", preset.vocab_size, None, "Flat", MOST_NEIGHBOURS
        )
        prepared = prepare(text, options.artifacts, stages)
        with stages.measured("measure the machine's peak", may_reuse=False):
            peak = peak_flops() / workers
        study = Study(options, rows, prepared, peak)
        others = range(options.seeds, 2 * options.seeds) if null_check else ()
        study.run(workers, others)
        results = study.results(experiment, others)
        results["workers"] = workers
        write_atomic(out / "results.json", json.dumps(results, indent=1))
    return results
