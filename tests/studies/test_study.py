"""Tables of variants as they are run: what crashes or diverges stays in the table, what is finished is never
run again, and bad input is told before anything is prepared.
"""

import dataclasses
import json
import signal
import time

import jax
import numpy as np
import pytest

from errors import InputError
from experiments.ablate import Options, ablate
from models.families import configuration, with_decoder_fields
from parallelism.mesh import MeshShape, make_mesh
from reports.study.table import terminal_table
from retrieval.index.index import load_index
from storage.files import write_atomic
from storage.sealed import save_array
from studies.prepare import Text, prepare
from studies.presets import PRESETS
from studies.records import Source, trial_record
from studies.results_file import read_results
from studies.rows import Reevaluation, Row
from studies.run_folder import sole
from studies.stages import Stages
from studies.study import Study, StudyOptions, run_study
from studies.summary import corpus_facts
from studies.trials.held_out import evaluated_documents, evaluation_path
from studies.trials.train import run_trial, strategy_of
from studies.trials.trained import load_run
from studies.trials.trial import Trial
from studies.trials.worker import COST, Evaluation, Task, other_evaluation_path, read
from tests.experiments.smoke import TINY_BERT
from tests.many_processes import ROOT, SECONDS, ends, start
from tests.parallelism.drawn_states import drawn_state, laid_out
from training.checkpoints import Checkpoints
from training.loop import CHECKPOINTS
from training.precision import optimiser_under

SMOKE = configuration("gopher/smoke")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a trained dense trial and a RETRO whose last state numpy drew."""
    root, random = tmp_path_factory.mktemp("study"), np.random.default_rng(0)
    words = ["".join(random.choice(list("abcdefgh"), 5)) for _ in range(300)]
    for number in range(12):
        (root / f"{number}.txt").write_text(" ".join(random.choice(words, 300)))
    text = Text(str(root / "*.txt"), None, "palm", 400, TINY_BERT, "Flat", 4)
    prepared = prepare(text, root / "artifacts", Stages(root / "artifacts"))
    for name, form in (("gopher", SMOKE), ("retro", configuration("retro/smoke"))):
        config = with_decoder_fields(form, vocab_size=400, max_length=64)
        trial = Trial(name, config, 0, 4, 2, 64, "float32", 2000, prepared.neighbours.path.name)
        if name == "retro":
            configuration_of_it = dataclasses.asdict(trial.config)
            checkpoints = Checkpoints(root / name / CHECKPOINTS, configuration=configuration_of_it)
            optimiser = optimiser_under(trial.precision, trial.optimiser)
            drawn = drawn_state(trial.config, optimiser)
            checkpoints.save(trial.steps, laid_out(drawn, strategy_of(trial, mesh())))
            (root / name / "metrics.jsonl").touch()
        run_trial(trial, prepared, strategy_of(trial, mesh()), 1e9, root / name)
    return root


def mesh():
    return make_mesh(MeshShape(), jax.devices()[:1])


def options(tmp_path, **fields):
    paths = {"artifacts": tmp_path / "artifacts", "cells": tmp_path / "cells"}
    return StudyOptions(preset="smoke", encoder=TINY_BERT, seeds=1, steps=2, **paths, **fields)


def test_what_crashes_or_diverges_stays_in_the_table_and_what_is_finished_is_kept(tmp_path):
    """A trial of a precision that does not exist crashes in its process; one with an absurd learning rate
    diverges.
    """
    rows = [
        Row("published", "Published form", None, config=SMOKE),
        Row("diverges", "Bad", "published", config=SMOKE, training={"peak": 1e30, "steps": 4}),
        Row("crashes", "Bad", "published", config=SMOKE, training={"precision": "float8"}),
    ]
    printed = terminal_table(run_study("ablate gopher", options(tmp_path), rows, tmp_path / "out"))
    results = read_results(tmp_path / "out" / "results.json")
    published, diverged, crashed = (row["cells"][0] for row in results["rows"])

    assert published["status"] == "finished" and len(published["nats"]) == len(results["documents"])
    assert published["tokens_per_second"] > 0 and published["peak_bytes"] > 10**8
    assert diverged["status"] == "diverged" and np.isfinite(diverged["last_finite"]["nats"])
    assert 1 <= diverged["last_finite"]["step"] < 4
    assert crashed["status"] == "failed" and "2 attempts" in crashed["reason"]
    assert "float8" in crashed["reason"]
    assert "diverged" in printed and "last finite loss" in printed and "failed" in printed

    folder = tmp_path / "cells" / published["cell"]
    before = (folder / "metrics.jsonl").stat().st_mtime_ns
    again = dataclasses.replace(options(tmp_path), rows=("published",))
    run_study("ablate gopher", again, rows, tmp_path / "out")
    assert (folder / "metrics.jsonl").stat().st_mtime_ns == before
    assert results["config"]["rows"] == "all"
    results = read_results(tmp_path / "out" / "results.json")
    assert results["rows"][0]["cells"][0]["nats"] == published["nats"] and len(results["rows"]) == 1
    assert results["config"]["rows"] == "chosen"


def test_an_unknown_row_is_told_the_known_ones(tmp_path):
    with pytest.raises(InputError, match=r"no row 'SwiGLU'.*'published', 'serial block', 'multi-head"):
        ablate(Options(family="palm", rows=("GELU", "SwiGLU"), out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("field", ["steps", "seeds", "workers"])
def test_numbers_below_one_are_refused(tmp_path, field):
    with pytest.raises(InputError, match=f"--{field} 0"):
        ablate(Options(family="palm", out=tmp_path, **{field: 0}))


@pytest.mark.parametrize("rows", [(), ("ReLU",)])
def test_the_null_check_is_the_whole_table_s(monkeypatch, rows):
    told = []
    monkeypatch.setattr("experiments.ablate.run_study", lambda *_, null_check: told.append(null_check))
    monkeypatch.setattr("experiments.ablate.print_table", lambda *_: None)
    ablate(Options(family="gopher", rows=rows))
    assert told == [not rows]


def test_a_text_too_short_to_evaluate_is_told_before_anything_is_trained(tmp_path):
    rows = [
        Row("published", "Published form", None, config=SMOKE),
        Row("longer", "Length", "published", reevaluation=Reevaluation("published", longer=512)),
    ]
    with pytest.raises(InputError, match=r"hold \d+ tokens to predict, less than one sequence.*--length"):
        run_study("ablate gopher", options(tmp_path), rows, tmp_path / "out")
    assert not list((tmp_path / "cells").glob("*/metrics.jsonl"))


def test_cells_whose_checkpoints_could_not_be_read_are_refused_before_anything_is_done(tmp_path):
    with pytest.raises(InputError, match="could not be read again"):
        ablate(Options(family="palm", cells=tmp_path / "lr=[0.1]", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_two_runs_do_not_write_the_same_table(tmp_path):
    with sole(tmp_path / "out"):
        with pytest.raises(InputError, match="Another command is writing into .*another --out"):
            ablate(Options(family="palm", out=tmp_path / "out", artifacts=tmp_path / "artifacts"))
    assert not (tmp_path / "artifacts").exists()
    with sole(tmp_path / "out"):
        pass


def test_the_database_is_what_the_index_holds(runs):
    prepared = load_run(runs / "retro").prepared
    facts = corpus_facts(prepared, np.flatnonzero(prepared.store.is_validation))
    assert facts["database_chunks"] == load_index(prepared.index_path).ntotal < facts["chunks"]


def test_a_reading_with_what_a_cell_was_evaluated_with_is_that_evaluation(runs):
    trained = load_run(runs / "retro")
    documents = evaluated_documents(trained.trial, trained.prepared.neighbours)
    for k, retrieval in ((0, "off"), (2, "on")):
        nats_st = np.load(evaluation_path(trained.folder, retrieval))
        expected = documents.nats_of_all(nats_st)
        np.testing.assert_array_equal(read(trained, Evaluation(k=k)), expected)
    assert not np.array_equal(read(trained, Evaluation(k=4)), expected)


def test_a_share_of_the_database_is_read_on_every_draw_of_it(runs):
    """The tables that a row wants, and what its record says of them: the nats of every draw, and their mean."""
    trained = load_run(runs / "retro")
    whole = Row("retro", "Reference", None, config=configuration("retro/smoke"))
    shares = [
        Row(f"{share}", "Database", "retro", reevaluation=Reevaluation("retro", share=share, draws=3))
        for share in (0.2, 0.5)
    ]
    study = Study([whole, *shares], PRESETS["smoke"], trained.prepared, runs / "cells")
    smaller, larger = (study.source(row).evaluations for row in shares)
    assert len({evaluation.table for evaluation in (*smaller, *larger)}) == 6
    assert study.source(whole).evaluations == ()

    documents = evaluated_documents(trained.trial, trained.prepared.neighbours)
    for evaluation in larger:
        save_array(other_evaluation_path(trained.folder, evaluation), read(trained, evaluation))
    write_atomic(trained.folder / COST, json.dumps({"peak_bytes": 1, "train_seconds": 1.0}))
    task = Task("retro", trained.trial, trained.folder, trained.prepared, larger)
    record = trial_record(Source(shares[1], lambda seed: task, larger), 0, documents)
    assert record["status"] == "finished" and len(record["draws"]) == 3
    np.testing.assert_allclose(record["nats"], np.mean(record["draws"], axis=0))
    assert len({tuple(nats_d) for nats_d in record["draws"]}) > 1


def test_retrieval_off_in_overlapping_windows_is_read_without_neighbours(runs):
    """Side by side it is what every trial is read by anyway."""
    trained = load_run(runs / "retro")
    rows = [
        Row("retro", "Reference", None, config=configuration("retro/smoke")),
        Row("off", "Retrieval", "retro", reevaluation=Reevaluation("retro", off=True)),
        Row("off, overlapping", "Windows", "retro",
            reevaluation=Reevaluation("retro", off=True, overlapping=True)),
    ]  # fmt: skip
    study = Study(rows, PRESETS["smoke"], trained.prepared, runs / "cells")
    assert study.source(rows[1]).evaluations == ()
    [overlapping] = study.source(rows[2]).evaluations
    assert overlapping == Evaluation(k=0, stride=PRESETS["smoke"].length // 2)


def test_longer_sequences_predict_the_same_documents(runs):
    trained = load_run(runs / "gopher")
    short, long = (read(trained, Evaluation(length=64 * times)) for times in (1, 2))
    assert ((short > 0) == (long > 0)).all()
    np.testing.assert_allclose(long, short, rtol=0.05)
    assert not np.array_equal(long, short)


def test_overlapping_windows_predict_the_same_tokens_with_more_context(runs):
    """What stands in the second half of a window anyway is predicted as it was."""
    trained = load_run(runs / "gopher")
    whole, overlapping = (read(trained, Evaluation(length=128, stride=stride)) for stride in (None, 64))
    assert ((whole > 0) == (overlapping > 0)).all()
    np.testing.assert_allclose(overlapping, whole, rtol=0.05)
    assert not np.array_equal(overlapping, whole)
    np.testing.assert_array_equal(read(trained, Evaluation(length=128, stride=128)), whole)


def test_an_evaluation_on_the_way_changes_nothing(runs, tmp_path):
    """The trial of the run, trained anew in stages: the same bits at the end."""
    whole = load_run(runs / "gopher")
    trial = dataclasses.replace(whole.trial, evaluate_at=(1, 2))
    staged = run_trial(trial, whole.prepared, strategy_of(trial, mesh()), 1e9, tmp_path)
    np.testing.assert_array_equal(staged.nats[None], np.load(evaluation_path(whole.folder, None)))
    first, second = (staged.nats_at[step][None].sum() for step in (1, 2))
    assert first > second > staged.nats[None].sum()
    evaluation_path(tmp_path, None, 1, trial).unlink()
    with pytest.raises(InputError, match="training has gone on from step 1 to 4.*train this trial anew"):
        run_trial(trial, whole.prepared, strategy_of(trial, mesh()), 1e9, tmp_path)


@pytest.mark.exhaustive
def test_stopped_and_started_again_it_ends_with_the_same_losses(tmp_path):
    """SIGTERM reaches the workers, which save the step in flight."""

    def begin(name, seconds=None):
        paths = ["--out", tmp_path / name / "out", "--cells", tmp_path / name / "cells"]
        process = start(
            "-m", "experiments.ablate", "gopher", "--preset", "smoke", "--seeds", "1", "--steps", "60",
            "--rows", "ReLU", "--encoder", TINY_BERT, "--artifacts", tmp_path / "artifacts", *paths, cwd=ROOT,
        )  # fmt: skip
        if seconds is not None:
            deadline = time.monotonic() + SECONDS
            while not list((tmp_path / name / "cells").glob("*/metrics.jsonl")):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            time.sleep(seconds)
            process.send_signal(signal.SIGTERM)
        return ends([process])[0]

    code, _, complaints = begin("stopped", seconds=1.0)
    assert code in (0, 130), complaints
    for name in ("stopped", "whole"):
        code, _, complaints = begin(name)
        assert code == 0, complaints
    stopped, whole = (
        [row["cells"] for row in json.loads((tmp_path / name / "out" / "results.json").read_text())["rows"]]
        for name in ("stopped", "whole")
    )
    for ours, theirs in zip(stopped, whole):
        assert ours[0]["nats"] == theirs[0]["nats"]
