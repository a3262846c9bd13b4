"""RETROfit as a person runs it, on a Gopher that was trained for two steps, and with bad input."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from command import command
from errors import InputError
from experiments.retrofit import Options, retrofit
from models.families import configuration, parameter_shapes, with_decoder_fields
from models.retro.config import RETROConfig
from parallelism.mesh import make_mesh, parse_mesh_shape
from storage.sealed import read_sealed, write_sealed
from studies.prepare import Text, prepare
from studies.retrofit import require_unchanged, retrofitted
from studies.stages import Stages
from studies.trials.held_out import evaluation_path
from studies.trials.train import run_trial, strategy_of
from studies.trials.trained import load_run
from studies.trials.trial import Trial
from training.checkpoints import fingerprint
from training.metrics import read_metrics

TINY_BERT = str(Path(__file__).parents[1] / "models/bert/tiny")
VOCABULARY, LENGTH, BATCH, STEPS, MESH = 400, 64, 8, 2, "1x8x1"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a dense trial and its RETROfit."""
    root, random = tmp_path_factory.mktemp("retrofit"), np.random.default_rng(0)
    words = ["".join(random.choice(list("abcdefgh"), 5)) for _ in range(300)]
    for number in range(16):
        (root / f"{number}.txt").write_text(" ".join(random.choice(words, 300)))
    artifacts = root / "artifacts"
    text = Text(str(root / "*.txt"), None, "palm", VOCABULARY, TINY_BERT, "Flat", 2)
    prepared = prepare(text, artifacts, Stages(artifacts))
    config = with_decoder_fields(configuration("gopher/smoke"), vocab_size=VOCABULARY)
    trial = Trial("gopher", config, 0, STEPS, BATCH, LENGTH, "float32", 2000, prepared.neighbours.path.name)
    strategy = strategy_of(trial, make_mesh(parse_mesh_shape(MESH)))
    run_trial(trial, prepared, strategy, 1e12, root / "gopher")
    start("--run", root / "gopher", "--out", root / "gopher-retrofit")
    return root


def start(*arguments):
    command(retrofit, Options, "", [*map(str, arguments), "--mesh", MESH])


def decoder_of(run):
    return {name: run.params[name] for name in parameter_shapes(run.trial.config.decoder)}


def test_retrieval_off_is_the_dense_model_bit_for_bit(runs):
    dense, after = load_run(runs / "gopher"), load_run(runs / "gopher-retrofit")
    assert after.trial.retrieves and after.step == STEPS
    assert fingerprint(decoder_of(after)) == fingerprint(dense.params) == after.trial.pretrained
    off, on = (np.load(evaluation_path(after.folder, retrieval)) for retrieval in ("off", "on"))
    assert off.tobytes() == np.load(evaluation_path(dense.folder, None)).tobytes()
    assert (off != on).any()


def test_results_are_those_of_the_saved_losses(runs):
    results = json.loads((runs / "gopher-retrofit/results.json").read_text())
    assert {"experiment", "command", "config", "environment", "rows", "comparisons"} <= results.keys()
    dense, off, on = results["rows"]
    assert [row["retrieval"] for row in results["rows"]] == [None, "off", "on"]
    assert dense["bits_per_byte"] == off["bits_per_byte"] and dense["interval"] == off["interval"]
    nats = {
        row["retrieval"]: np.load(path).astype(np.float64).sum()
        for row, path in (
            (dense, evaluation_path(runs / "gopher", None)),
            (on, evaluation_path(runs / "gopher-retrofit", "on")),
        )
    }
    assert on["bits_per_byte"] / dense["bits_per_byte"] == pytest.approx(nats["on"] / nats[None], rel=1e-9)
    difference = results["comparisons"][1]
    assert difference["difference"] == pytest.approx(on["bits_per_byte"] - dense["bits_per_byte"], abs=1e-9)
    interval = difference["over_groups"]  # which documents are held out differs between Pythons
    assert interval is None or interval[0] <= difference["difference"] <= interval[1]
    assert results["comparisons"][0]["difference"] == 0
    assert on["trained_parameters"] == on["parameters"] - dense["parameters"] > 0


def test_it_goes_on_from_a_checkpoint_bit_for_bit_and_is_not_done_twice(runs, tmp_path, capsys):
    out = shutil.copytree(runs / "gopher-retrofit", tmp_path / "out")
    shutil.rmtree(out / f"checkpoints/{STEPS}")
    for retrieval in ("off", "on"):
        evaluation_path(out, retrieval).unlink()
    start("--run", runs / "gopher", "--out", out)
    whole, parts = (load_run(folder) for folder in (runs / "gopher-retrofit", out))
    assert fingerprint(whole.params) == fingerprint(parts.params)
    losses = [[line["loss"] for line in read_metrics(run.folder)] for run in (whole, parts)]
    assert losses[0] == losses[1] and len(losses[0]) == STEPS
    for retrieval in ("off", "on"):
        on_disk = [np.load(evaluation_path(run.folder, retrieval)) for run in (whole, parts)]
        np.testing.assert_array_equal(*on_disk)

    before = (out / "metrics.jsonl").stat().st_mtime_ns
    capsys.readouterr()
    start("--run", runs / "gopher", "--out", out)
    assert (out / "metrics.jsonl").stat().st_mtime_ns == before
    assert "(reused)" in capsys.readouterr().err


@pytest.mark.parametrize("family", ["gopher", "palm"])
@pytest.mark.parametrize("size", ["smoke", "tiny"])
def test_a_size_that_retro_has_too_takes_its_encoder(family, size):
    decoder, retro = configuration(f"{family}/{size}"), configuration(f"retro/{size}")
    assert retrofitted(decoder, "published") == dataclasses.replace(retro, decoder=decoder)


def test_a_size_that_retro_lacks_takes_the_published_encoder():
    config = retrofitted(configuration("gopher/44m"), "published")
    assert config == RETROConfig(configuration("gopher/44m"), cca_layers=(6,))
    shallow = dataclasses.replace(configuration("gopher/44m"), num_layers=3)
    assert retrofitted(shallow, "copying").cca_layers == (3,)


# Bad input


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        start(*arguments)
    assert stopped.value.code == 2
    message = capsys.readouterr().err.split("error: ")[-1].strip()
    assert "\n\n" not in message
    return message


def test_a_model_that_retrieves_already(runs, tmp_path, capsys):
    message = fails(capsys, "--run", runs / "gopher-retrofit", "--out", tmp_path / "out")
    assert "retrieves already" in message and "--run" in message
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_run(runs, tmp_path, capsys):
    assert "There is no run at" in fails(capsys, "--run", tmp_path, "--out", tmp_path / "out")


def test_a_run_without_a_checkpoint(runs, tmp_path, capsys):
    copy = shutil.copytree(runs / "gopher", tmp_path / "gopher")
    shutil.rmtree(copy / "checkpoints")
    assert "no checkpoint" in fails(capsys, "--run", copy, "--out", tmp_path / "out")


def test_an_unfinished_run(runs, tmp_path, capsys):
    copy = shutil.copytree(runs / "gopher", tmp_path / "gopher")
    shutil.rmtree(copy / f"checkpoints/{STEPS}")
    message = fails(capsys, "--run", copy, "--out", tmp_path / "out")
    assert "not finished" in message and f"step 1 of {STEPS}" in message


def test_a_run_that_was_not_evaluated(runs, tmp_path, capsys):
    copy = shutil.copytree(runs / "gopher", tmp_path / "gopher")
    evaluation_path(copy, None).unlink()
    assert "not evaluated" in fails(capsys, "--run", copy, "--out", tmp_path / "out")


def test_a_checkpoint_of_another_configuration(runs, tmp_path, capsys):
    copy = shutil.copytree(runs / "gopher", tmp_path / "gopher")
    config = read_sealed(copy / "config.json")
    config["config"]["d_ff"] += 8
    write_sealed(copy / "config.json", config)
    message = fails(capsys, "--run", copy, "--out", tmp_path / "out")
    assert "is of another configuration" in message and "feed_forward" in message


def test_the_folder_of_another_dense_run(runs, tmp_path, capsys):
    out = shutil.copytree(runs / "gopher-retrofit", tmp_path / "out")
    message = fails(capsys, "--run", runs / "gopher", "--out", out, "--steps", "7")
    assert "steps is 2 there and 7 here" in message
    config = read_sealed(out / "config.json")
    write_sealed(out / "config.json", config | {"pretrained": "0123456789abcdef"})
    message = fails(capsys, "--run", runs / "gopher", "--out", out)
    assert "pretrained is '0123456789abcdef' there" in message


def test_no_steps(runs, tmp_path, capsys):
    assert "--steps 0" in fails(capsys, "--run", runs / "gopher", "--out", tmp_path / "out", "--steps", "0")


def test_losses_that_are_not_the_dense_models_are_named():
    dense_st = np.ones((2, 3), np.float32)
    require_unchanged(dense_st, dense_st.copy(), Path("run"))
    other_st = dense_st.copy()
    other_st[0, 1] = np.nextafter(np.float32(1), np.float32(2))
    with pytest.raises(InputError, match=r"1 of 6 held-out losses differ, by at most 1\.2e-07.*--mesh"):
        require_unchanged(dense_st, other_st, Path("run"))
