"""A table of rows, from its options to results.json: prepares the text, and trains every trial that the rows
need, in an order that keeps all cores at work. What came out is written down by studies.records and
judged by judging.verdicts.
"""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from command import require_positive
from data.tokenised import HeldOut
from errors import InputError
from models.families import family_of, with_decoder_fields
from studies.environment import peak_flops
from studies.neighbour_tables import table_for
from studies.peaks import peak_of
from studies.prepare import Prepared, Text, prepare
from studies.presets import Preset, PresetName, preset_of
from studies.records import Source, records_of
from studies.results_file import write_results
from studies.rows import MOST_NEIGHBOURS, Row
from studies.run_folder import sole
from studies.stages import Stages
from studies.trials.cluster import run_on_cluster
from studies.trials.grid import finished, number_of_workers, run_grid, trial_folder
from studies.trials.held_out import evaluation_batch, few_in_view, require_text, share_beside_neighbours
from studies.trials.trained import load_run
from studies.trials.trial import Trial
from studies.trials.worker import Evaluation, Task
from training.checkpoints import fingerprint, require_plain

TUNING_SEED = 1000  # of no table
NOT_YET = "not trained yet"  # for the fingerprint of parameters to come


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """The options of every table of rows."""

    preset: PresetName = "default"
    """Budget of a trial: `default`, `smoke` for the same path in minutes, `gpu` or `pod` (not run yet)."""
    size: str | None = None
    """Size of the models, such as 40m, with its vocabulary. Default: the preset's."""
    tokens: str | None = None
    """Training tokens of a trial, such as 50M; or --steps."""
    corpus: str = "installed"
    """`installed` (the pinned packages and the standard library), `stdlib`, a path, a quoted glob, or
    hf:NAME[:CONFIG].
    """
    held_out: HeldOut = "group"
    """What is held out: whole packages (`group`), or documents wherever they come from."""
    seeds: int = 3
    """Number of seeds of every row, to be fixed before a table is looked at: seeds that are added to what
    came out undecided decide it more often than is true.
    """
    steps: int | None = None
    """Training steps of a trial."""
    encoder: str | None = None
    """BERT that embeds chunks: a folder or a Hugging Face name. Default: the MiniLM installed with the
    project.
    """
    rows: tuple[str, ...] = ()
    """Rows to run, beside the reference and what they are compared with, and without the null check, which
    is the whole table's. As they, and their seeds, may be chosen by what a table said, the file says so and
    its rows have no verdict; train what is missing, then run the table without this. Default: all.
    """
    workers: int | None = None
    """Trials trained at once, each on a core of its own. Default: one per core, or one for an accelerator."""
    cluster: str | None = None
    """Ray cluster whose machines train the trials, and share a file system: HOST:PORT of its head, `auto`, or
    `local`. An extra: pip install '.[ray]'.
    """
    artifacts: Path = Path("runs/artifacts")
    """Folder of token stores and neighbour tables, shared by runs."""
    cells: Path = Path("runs/cells")
    """Folder of trained trials, shared by all tables: what is finished is never run again."""


def run_study(
    experiment: str,
    options: StudyOptions,
    rows: Sequence[Row],
    out: Path,
    null_check: bool = False,
    seeds: Sequence[int] = (),
) -> dict[str, Any]:
    """Runs `rows`, writes results.json into `out`, and returns its content.

    null_check: whether the reference is also trained from as many other seeds. seeds: in place of the number
    that `options` ask for.

    Raises:
      InputError: an unknown row, or another run is writing into `out`.
    """
    preset = resolved(options)
    require_plain(options.cells)
    rows = chosen(rows, options.rows)
    workers = number_of_workers(options.workers)
    seeds = seeds or range(options.seeds)
    others = range(options.seeds, 2 * options.seeds) if null_check else range(0)
    with sole(out):
        stages = Stages(out, options.artifacts)
        text = Text(
            options.corpus, preset.corpus_bytes, "palm", preset.vocab_size, options.encoder, "Flat",
            MOST_NEIGHBOURS, held_out=options.held_out,
        )  # fmt: skip
        artifacts, cells = options.artifacts, options.cells
        if options.cluster is not None:  # other machines have other working directories
            artifacts, cells = artifacts.resolve(), cells.resolve()
        prepared = prepare(text, artifacts, stages)
        with stages.measured("measure the machine's peak", may_reuse=False):
            peak = peak_flops() / workers
        study = Study(rows, preset, prepared, cells)
        run = partial(run_grid, workers=workers, peak=peak, trials=cells)
        if options.cluster is not None:
            run = partial(run_on_cluster, address=options.cluster, peak=peak, trials=cells)
        study.train(run, seeds, others)
        config = {
            **dataclasses.asdict(preset),
            "preset": options.preset,
            "corpus": options.corpus,
            "held_out": options.held_out,
            "tokenizer": "palm",
            "seeds": options.seeds,
            "rows": "chosen" if options.rows else "all",
        }
        sources = [study.source(row) for row in rows]
        content = {"config": config, **records_of(prepared, sources, seeds, others, peak)}
        facts = {"corpus_hash": prepared.corpus_hash, "workers": workers}
        return write_results(out / "results.json", experiment, content, **facts)


class Study:
    """Rows, and the trials that they need."""

    def __init__(self, rows: Sequence[Row], preset: Preset, prepared: Prepared, trials: Path):
        self._rows = {row.name: row for row in rows}
        self._trained = [row for row in rows if row.reevaluation is None]
        self._preset, self._prepared, self._trials = preset, prepared, trials
        # To name a table, the whole store is hashed: once for every draw, not for every trial that reads it.
        self._table = cache(partial(table_for, prepared))

    def train(
        self, run: Callable[[Sequence[Task]], None], seeds: Sequence[int], other_seeds: Sequence[int]
    ) -> None:
        """Trains what can be trained at once, seed by seed; then what needs another trial's result.

        Args:
          run: (tasks) trains and reads them.
          other_seeds: of the first row alone.

        Raises:
          InputError: the text is too short, before anything is trained.
        """
        dependent = [row for row in self._trained if row.retrofit_of]
        tasks = [self._task(row, seed) for seed in seeds for row in self._trained if row not in dependent]
        tasks += [self._task(self._trained[0], seed) for seed in other_seeds]
        for task in tasks:
            for evaluation in (Evaluation(), *task.evaluations):
                require_text(task.trial, task.prepared.neighbours, evaluation.length, evaluation.stride)
        if retrieving := next((task for task in tasks if task.trial.retrieves), None):
            share = share_beside_neighbours(retrieving.trial, retrieving.prepared.neighbours)
            if warning := few_in_view(share):
                print(f"Warning: {warning}", file=sys.stderr)
        run(tasks)
        tasks = [self._task(row, seed) for seed in seeds for row in dependent]
        run([task for task in tasks if task.trial.pretrained != NOT_YET])

    def source(self, row: Row) -> Source:
        """Where the trials of `row` come from, once they are trained."""
        trained = self._rows[row.reevaluation.of] if row.reevaluation else row
        return Source(row, partial(self._task, trained), self._evaluations(row))

    def _task(self, row: Row, seed: int) -> Task:
        """The trial of the trained `row` from `seed`, with all evaluations that rows want of it."""
        preset, training = self._preset, dict(row.training)
        dense = None
        if row.retrofit_of:
            task = self._task(self._rows[row.retrofit_of], seed)
            dense, there = task.folder, finished(task)
            training["pretrained"] = fingerprint(load_run(dense).params) if there else NOT_YET
        config = with_decoder_fields(row.config, vocab_size=preset.vocab_size, max_length=preset.length)
        table = self._table(row.keys, MOST_NEIGHBOURS)
        prepared = dataclasses.replace(self._prepared, neighbours_name=table)
        fields = {
            "name": family_of(config).name, "config": config, "seed": seed, "steps": preset.steps,
            "batch_size": preset.batch_size, "length": preset.length, "precision": "float32",
            "evaluation_tokens": preset.evaluation_tokens,
            "evaluation_batch": evaluation_batch(preset.batch_size, preset.length),
        }  # fmt: skip
        if "peak" not in training:
            training["peak"] = peak_of(row.config, training.get("recipe"))
        trial = Trial(**fields | training, neighbours=table).with_its_recipe
        if not trial.retrieves:  # it has no use for neighbours, and is the same trial with any
            trial = dataclasses.replace(trial, neighbours=prepared.store_name)
        of_row = [
            other for other in self._rows.values() if other.reevaluation and other.reevaluation.of == row.name
        ]
        evaluations = () if seed == TUNING_SEED else sum(map(self._evaluations, of_row), ())
        return Task(row.name, trial, trial_folder(self._trials, trial), prepared, evaluations, dense)

    def _evaluations(self, row: Row) -> tuple[Evaluation, ...]:
        """How `row` is evaluated anew, once for every draw of its database; none for what every trial is
        evaluated on anyway.
        """
        again = row.reevaluation
        if again is None or again.off and not (again.longer or again.overlapping):
            return ()
        tables: list[str | None] = [None]
        if again.random or again.share is not None or again.nprobe is not None:
            keys = "random" if again.random else "bert"
            draws = range(1 if again.share is None else again.draws)
            tables = [self._table(keys, MOST_NEIGHBOURS, again.share, again.nprobe, draw) for draw in draws]
        length = None if again.longer is None else again.longer * self._preset.length
        stride = (length or self._preset.length) // 2 if again.overlapping else None
        k = 0 if again.off else again.k
        evaluations = (Evaluation(k, table, length, stride) for table in tables)
        return tuple(evaluation for evaluation in evaluations if evaluation != Evaluation())


def resolved(options: StudyOptions) -> Preset:
    """The preset with the size and budget that were asked for.

    Raises:
      InputError: steps or seeds below 1, or what `preset_of` raises.
    """
    require_positive(options, "steps", "seeds")
    return preset_of(options.preset, options.size, options.tokens, steps=options.steps)


def chosen(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
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
    included, todo = {rows[0].name}, list(names or known)
    while todo:
        row = known[todo.pop()]
        included.add(row.name)
        needs = [row.against, row.interaction, row.retrofit_of, row.reevaluation and row.reevaluation.of]
        todo += [name for name in needs if name and name not in included]
    return [row for row in rows if row.name in included]
