"""One model of any size: trained by its paper's recipe, kept, read again, and refused with a word."""

import dataclasses
import json
import re

import numpy as np
import pytest

from errors import InputError
from experiments.retrofit import Options as RetrofitOptions
from experiments.retrofit import retrofit
from experiments.train import Options, planned, train
from models.families import configuration
from parallelism.mesh import MeshShape, make_mesh
from studies import fitting
from studies.trials.trained import load_run
from training.metrics import read_metrics
from training.spikes import read_skipped

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu".split()
SMALL = ("vocab_size=290",)


@pytest.fixture(scope="module")
def one_device():
    import jax

    return make_mesh(MeshShape(), jax.devices()[:1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two texts."""
    root = tmp_path_factory.mktemp("train")
    random = np.random.default_rng(0)
    for corpus in ("first", "second"):
        (root / corpus).mkdir()
        for number in range(24):
            text = " ".join(random.choice(WORDS, 250))
            (root / corpus / f"{number}.txt").write_text(f"{corpus} {number} {text}")
    return root


@pytest.fixture(scope="module")
def options(folder):
    return Options(
        "gopher/smoke", SMALL, steps=8, batch_tokens="1024", length=128, corpus=str(folder / "first"),
        held_out="document", evaluation_tokens=2000, evaluate_every=4, out=folder / "gopher",
        artifacts=folder / "artifacts",
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(options):
    train(options)
    return json.loads((options.out / "results.json").read_bytes())


def test_it_is_evaluated_at_every_milestone_and_read_by_other_commands(options, trained):
    rows = [(row["step"], row["tokens"]) for row in trained["rows"]]
    assert rows == [(4, 4096), (8, 8192)]
    assert trained["rows"][1]["bits_per_byte"] < trained["rows"][0]["bits_per_byte"]
    run = load_run(options.out)
    assert run.step == 8 and run.trial.peak == trained["recipe"]["peak"]
    assert not list(options.artifacts.glob("neighbours-*")), "a dense model needs no neighbours"


def test_a_run_that_starts_from_another_has_its_parameters_and_tokenizer(options, trained, folder):
    further = dataclasses.replace(
        options, corpus=str(folder / "second"), from_=options.out, out=folder / "further", steps=2
    )
    train(further)
    first, last = read_metrics(options.out)[0]["nats"], read_metrics(options.out)[-1]["nats"]
    assert read_metrics(further.out)[0]["nats"] == pytest.approx(last, abs=(first - last) / 2)
    hashes = {load_run(out).prepared.tokenizer.hash for out in (options.out, further.out)}
    assert len(hashes) == 1
    with pytest.raises(InputError, match="--tokenizer gopher is not that of --from"):
        train(dataclasses.replace(further, tokenizer="gopher"))
    with pytest.raises(InputError, match="num_layers is 2, and that of this model 3"):
        train(dataclasses.replace(further, set=(*SMALL, "num_layers=3")))


def test_batches_that_are_to_be_left_out_are(options, folder):
    skipping = dataclasses.replace(
        options, skip=("1:3",), steps=4, evaluate_every=None, out=folder / "skipping"
    )
    train(skipping)
    assert read_skipped(skipping.out).ranges == ((1, 3),)
    plain = [line["nats"] for line in read_metrics(options.out)]
    skipped = [line["nats"] for line in read_metrics(skipping.out)]
    assert skipped[0] == plain[0] and skipped[1] != plain[1]
    train(skipping)  # again: nothing is done, and nothing refused
    with pytest.raises(InputError, match="has begun without --skip 5:6"):
        train(dataclasses.replace(skipping, skip=("5:6",)))


def test_retro_finds_its_neighbours(options, folder, capsys):
    retro = dataclasses.replace(
        options, model="retro/smoke", set=("decoder.vocab_size=290",), keys="tfidf", steps=2,
        evaluate_every=None, out=folder / "retro",
    )  # fmt: skip
    train(retro)
    assert "retro-smoke on" in capsys.readouterr().out
    assert list(options.artifacts.glob("neighbours-*"))


def test_a_dense_run_without_neighbours_is_given_retrieval(options, trained, folder):
    fitted = folder / "fitted"
    retrofit(RetrofitOptions(run=options.out, steps=2, keys="tfidf", out=fitted))
    run = load_run(fitted)
    assert run.trial.retrieves and run.prepared.neighbours_name is not None
    results = json.loads((fitted / "results.json").read_bytes())
    assert {row["retrieval"] for row in results["rows"]} == {None, "off", "on"}


def test_published_sizes_are_trained_as_published(one_device):
    trial, _ = planned(Options("gopher/44m", steps=10), one_device)
    assert (trial.batch_size, trial.length, trial.peak, trial.clip) == (128, 2048, 6e-4, None)
    assert planned(Options("gopher/7.1b", steps=10), one_device)[0].clip == 0.25
    assert planned(Options("palm/8b", steps=10), one_device)[0].batch_size == 256
    trial, _ = planned(Options("retro/40m", tokens="50M", batch_tokens="0.25M", peak=1e-3), one_device)
    assert (trial.batch_size, trial.steps, trial.peak) == (122, -(-50_000_000 // (122 * 2048)), 1e-3)
    changed, _ = planned(Options("gopher/44m", ("num_layers=6",), steps=1, length=1024), one_device)
    expected = dataclasses.replace(configuration("gopher/44m"), num_layers=6, max_length=1024)
    assert changed.config == expected and changed.batch_size == 256


def test_what_it_takes_is_shown_and_nothing_trained(options, folder, capsys):
    train(dataclasses.replace(options, dry_run=True, out=folder / "dry"))
    shown = capsys.readouterr().err
    assert "memory" in shown and "tokens/s" in shown and not (folder / "dry").exists()


def test_what_does_not_fit_is_refused_before_anything_is_prepared(options, folder, monkeypatch):
    monkeypatch.setattr(fitting, "_memory", lambda mesh: (10**9, 10**9 + 1000))
    with pytest.raises(InputError, match="expected to take .* GB"):
        train(dataclasses.replace(options, out=folder / "large"))
    assert not (folder / "large").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": "gopher/44"}, "gopher/44m"),
        ({"set": ("layers=3",)}, "layers: GopherConfig has no such field"),
        ({"steps": None}, "either --tokens"),
        ({"tokens": "5M"}, "either --tokens"),
        ({"tokens": "few", "steps": None}, "--tokens few: give a whole number"),
        ({"batch_tokens": "1.5"}, "--batch-tokens 1.5"),
        ({"length": 100}, "--length 100: give a multiple of 64"),
        ({"micro_batches": 3}, "multiple of"),
        ({"skip": ("3:1",)}, "3:1 cannot be left out"),
        ({"skip": ("3",)}, "--skip 3"),
        ({"profile": "5"}, "--profile 5: give START:COUNT"),
        ({"peak": 0.0}, "peak 0.0: give a number above 0"),
        ({"spike_rise": -1.0}, "--spike-rise"),
        ({"decay": 2.0}, "decay 2.0"),
        ({"tokenizer": "bert"}, "--tokenizer bert"),
        ({"mesh": "1x3x1"}, "devices"),
    ],
)
def test_bad_input_is_named(options, folder, wrong, message):
    with pytest.raises(InputError, match=re.escape(message)):
        train(dataclasses.replace(options, out=folder / "wrong", **wrong))
