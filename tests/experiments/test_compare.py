"""The comparison as a person runs it: the smoke preset, killed and resumed, twice, and with bad input."""

import dataclasses
import errno
import json
import math
import shutil
import signal
import time
from typing import get_args

import numpy as np
import pytest

from command import command
from data.batches import evaluation_batches
from data.token_store import TokenStore
from errors import InputError
from experiments.compare import Options, _what_makes_the_run, compare
from studies.prepare import _require_the_same_text, reopen
from studies.run_folder import require_free, sole
from tests.experiments.smoke import ARGUMENTS, EVALUATED, start_compare
from tests.many_processes import SECONDS
from training.metrics import read_metrics
from training.precision import POLICIES

CELLS = [f"{name}/seed-0" for name in ("palm", "gopher", "retro", "retro-copying")]
KILLED = "retro/seed-0"


def test_results_have_every_row_and_field(run):
    out, _, printed = run
    results = json.loads((out / "results.json").read_text())
    assert results["experiment"] == "compare"
    assert {"experiment", "config", "environment", "rows", "comparisons"} <= results.keys()
    assert {"python", "jax", "device", "commit", "corpus_hash"} <= results["environment"].keys()
    rows = [row for row in results["rows"] if row["domain"] == "all"]
    forms = {(row["model"], row["retrieval"], row["initialisation"]) for row in rows}
    assert forms == {("palm", None, None), ("gopher", None, None)} | {
        ("retro", retrieval, initialisation)
        for retrieval in ("off", "on")
        for initialisation in ("published", "copying")
    }
    assert len(rows) == len(forms)
    # Which of the few documents of this budget are held out differs between versions of Python.
    domains = {row["domain"] for row in results["rows"]}
    assert "all" in domains and domains <= {"all", "code", "docs", "no_near_duplicates"}
    for row in results["rows"]:
        assert row["domain"] != "all" or row["interval"] is not None
        if row["interval"] is not None:  # a single document has none
            assert row["interval"][0] <= row["bits_per_byte"] <= row["interval"][1]
        assert row["train_tokens"] > 0 and row["tokens_per_second"] > 0 and 0 < row["mfu"] < 1
    assert 0 < results["corpus"]["beside_neighbours"] < 1 and 0 <= results["corpus"]["cut_chunks"] <= 1
    assert "RETRO on (copying, ours)" in printed
    assert (out / "report.html").stat().st_size > 10_000
    assert (out / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_retro_costs_more_flops_than_dense_and_the_dense_are_equal(run):
    rows = json.loads((run[0] / "results.json").read_text())["rows"]
    flops = {(row["model"], row["initialisation"]): row["train_flops"] for row in rows}
    assert flops["retro", "published"] > 1.3 * flops["gopher", None]
    assert flops["palm", None] == pytest.approx(flops["gopher", None], rel=0.05)


def test_every_family_saw_the_same_tokens(run):
    rows = json.loads((run[0] / "results.json").read_text())["rows"]
    assert len({row["train_tokens"] for row in rows}) == 1


def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(run, tmp_path):
    """The same command without what the third model had done, killed in its middle, then finished."""
    out, artifacts, _ = run
    folder = tmp_path / "out"
    shutil.copytree(out, folder, ignore=shutil.ignore_patterns("results.json", "report.html"))
    shutil.rmtree(folder / KILLED)
    process = start_compare(folder, artifacts)
    metrics = folder / KILLED / "metrics.jsonl"
    deadline = time.monotonic() + SECONDS
    while not (metrics.exists() and metrics.read_text().count("\n") >= 4):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / "results.json").exists()

    process = start_compare(folder, artifacts)
    _, complaints = process.communicate()
    assert process.returncode == 0, complaints
    assert complaints.count("(reused)") >= 4 + len(CELLS) - 1
    losses, again = (
        [(line["step"], line["loss"], line["grad_norm"]) for line in read_metrics(either / KILLED)]
        for either in (out, folder)
    )
    assert [step for step, _, _ in losses] == list(range(1, 13))
    assert losses == again
    for array in (out / KILLED).glob("evaluation-*.npy"):
        np.testing.assert_array_equal(np.load(array), np.load(folder / KILLED / array.name))
    assert checkpoint_bytes(out / KILLED) == checkpoint_bytes(folder / KILLED)
    assert rows_of(out) == rows_of(folder)


def rows_of(folder):
    """Of results.json, without what a clock says."""
    rows = json.loads((folder / "results.json").read_text())["rows"]
    return [{name: v for name, v in row.items() if name not in ("tokens_per_second", "mfu")} for row in rows]


def checkpoint_bytes(trial):
    """The checksums of every parameter and moment in the last checkpoint."""
    return (trial / "checkpoints/12/manifest/metadata").read_text()


def test_a_second_run_reuses_everything_but_a_damaged_token_store_which_is_named_and_rebuilt(run):
    out, artifacts, _ = run
    before = (out / "palm/seed-0/metrics.jsonl").stat().st_mtime_ns
    store = next(artifacts.glob("tokens-*")) / "tokens.bin"
    original = store.read_bytes()
    store.write_bytes(original[:100] + b"\xff" + original[101:])
    process = start_compare(out, artifacts)
    _, complaints = process.communicate()
    assert process.returncode == 0, complaints
    assert (out / "palm/seed-0/metrics.jsonl").stat().st_mtime_ns == before
    assert complaints.count("(reused)") >= 3 + len(CELLS)
    assert "tokens.bin" in complaints
    assert store.read_bytes() == original


def fails(capsys, *arguments):
    """Runs the command in this process (eight devices) and returns the paragraph it ends with."""
    with pytest.raises(SystemExit) as stopped:
        command(compare, Options, "", [*ARGUMENTS, *map(str, arguments)])
    assert stopped.value.code == 2
    message = capsys.readouterr().err.split("error: ")[-1].strip()
    assert "\n\n" not in message and len(message) > 40
    return message


@pytest.fixture
def folders(tmp_path):
    return [
        "--out",
        tmp_path / "out",
        "--artifacts",
        tmp_path / "artifacts",
        "--mesh",
        "1x8x1",
        "--batch-size",
        "8",
    ]


def test_a_folder_of_another_configuration_is_refused(capsys, run):
    out, artifacts, _ = run
    message = fails(
        capsys, "--out", out, "--artifacts", artifacts, "--mesh", "1x4x2", "--steps", "13"
    )  # the mesh may change between two commands of one run
    assert "options.steps is 12 there and 13 here" in message and "--out" in message


def test_missing_path(capsys, folders):
    assert "nowhere.txt" in fails(capsys, *folders, "--corpus", "nowhere.txt")


def test_empty_corpus(capsys, folders, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "binary.txt").write_bytes(b"\x00\x01\x02")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    message = fails(capsys, *folders, "--corpus", str(tmp_path / "*.txt"))
    assert "no text that can be read" in message


def test_corpus_shorter_than_one_sequence(capsys, folders, tmp_path):
    random = np.random.default_rng(0)
    for name in range(4):
        words = ("".join(random.choice(list("abcdefgh"), 6)) for _ in range(60))
        (tmp_path / f"{name}.txt").write_text(" ".join(words))
    message = fails(
        capsys, *folders, "--corpus", str(tmp_path / "*.txt"), "--vocab-size", "300", "--length", "4096"
    )
    assert "4096" in message


def test_vocabulary_larger_than_the_text_allows(capsys, folders, tmp_path):
    for name in range(4):
        (tmp_path / f"{name}.txt").write_text(f"{name} " + "hardly any words " * 200)
    message = fails(capsys, *folders, "--corpus", str(tmp_path / "*.txt"), "--vocab-size", "50000")
    assert "50000" in message.replace(",", "")


def test_a_mistake_that_is_found_late_is_found_before_training_and_leaves_the_folder_free(
    capsys, folders, tmp_path
):
    """Held-out documents longer than the budget of evaluation: with the option that the message names, the
    same folder takes the run.
    """
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("abcdefgh"), 6)) for _ in range(400)]
    for name in range(12):
        (tmp_path / f"{name}.txt").write_text(" ".join(random.choice(words, 2000)))
    more = ["--corpus", f"{tmp_path}/*.txt", "--vocab-size", "300", "--corpus-bytes", "10000000"]
    message = fails(capsys, *folders, *more, "--evaluation-tokens", "500")
    assert "No held-out document fits into 500 tokens" in message and "--evaluation-tokens" in message
    assert not list(folders[1].rglob("metrics.jsonl")) and not (folders[1] / "config.json").exists()
    require_free(folders[1], {"another": "run"})


def test_a_corpus_that_has_grown_is_told(run, tmp_path):
    """By its name, and before what the run says of its own text is overwritten."""
    there = reopen(run[0])
    other = dataclasses.replace(there, corpus_hash="0123456789abcdef")
    before = (run[0] / "data.json").read_bytes()
    with pytest.raises(InputError, match="--corpus notes/ has changed since the run in .* began"):
        _require_the_same_text(other, "notes/", run[0])
    _require_the_same_text(there, "notes/", run[0])
    _require_the_same_text(other, "notes/", tmp_path)
    assert (run[0] / "data.json").read_bytes() == before


def test_a_folder_by_either_name_is_one_corpus():
    configs = [{"options": {"corpus": corpus, "steps": 3, "out": "x"}} for corpus in ("notes", "notes/")]
    assert _what_makes_the_run(configs[0]) == _what_makes_the_run(configs[1])
    assert _what_makes_the_run({"options": {"corpus": "hf:a/b:c"}})["options"]["corpus"] == "hf:a/b:c"


def test_two_comparisons_do_not_write_into_one_folder(capsys, folders):
    with sole(folders[1]):
        assert "Another command is writing into" in fails(capsys, *folders)
    assert not (folders[1] / "config.json").exists()


def test_a_folder_whose_checkpoints_could_not_be_read_is_refused(capsys, folders, tmp_path):
    assert "could not be read again" in fails(capsys, *folders, "--out", tmp_path / "lr=[0.2]")


def test_mesh_that_does_not_divide_the_devices(capsys, folders):
    assert "there are 8" in fails(capsys, *folders, "--mesh", "1x3x1")


def test_mesh_that_does_not_divide_the_batch(capsys, folders):
    assert "batch size that is a multiple of 8" in fails(capsys, *folders, "--batch-size", "6")


@pytest.mark.parametrize(
    ("mesh", "more", "complaint"),
    [
        ("2x4x1", ["--strategy", "pipeline"], "in RETRO some layers alone read neighbours"),
        ("1x4x2", ["--strategy", "pmap"], "Give --mesh 1 along model"),
        ("1x1x8", [], "heads"),
        ("1x4x2", ["--vocab-size", "1001"], "1001"),
        ("1x8x1", ["--micro-batches", "2"], "batch size that is a multiple of 16"),
    ],
)
def test_what_a_strategy_or_a_mesh_cannot_train_is_told_before_anything_is_prepared(
    capsys, folders, mesh, more, complaint
):
    assert complaint in fails(capsys, *folders, "--mesh", mesh, *more)
    assert not folders[1].exists()


@pytest.mark.parametrize("option", ["--steps", "--seeds", "--length"])
def test_numbers_below_one(capsys, folders, option):
    assert option in fails(capsys, *folders, option, "0")


def test_full_disk(capsys, folders, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "results.json")

    monkeypatch.setattr("experiments.compare.prepare_for_all", full)
    assert "disk is full (results.json)" in fails(capsys, *folders)


def test_unknown_option_exits_with_2():
    with pytest.raises(SystemExit) as stopped:
        command(compare, Options, "", ["--corpsu", "x"])
    assert stopped.value.code == 2


def test_every_precision_is_offered():
    (precision,) = (field.type for field in dataclasses.fields(Options) if field.name == "precision")
    assert get_args(precision) == tuple(POLICIES)


def test_bits_per_byte_are_those_of_the_saved_losses(run):
    """The headline number from the raw arrays, by hand."""
    out, artifacts, _ = run
    results = json.loads((out / "results.json").read_text())
    row = next(r for r in results["rows"] if r["model"] == "gopher" and r["domain"] == "all")
    nats = np.load(out / "gopher/seed-0/evaluation-dense.npy").astype(np.float64).sum()
    store = TokenStore(next(artifacts.glob("tokens-*")))
    evaluated = np.unique(
        np.concatenate([d.ravel() for _, d in evaluation_batches(store, 4, 128, EVALUATED)])
    )
    num_bytes = store.num_bytes[evaluated[evaluated >= 0]].sum()
    assert row["bits_per_byte"] == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-9)


def test_over_all_chunks_the_leakage_part_is_the_headline(run):
    out, _, printed = run
    results = json.loads((out / "results.json").read_text())
    what = ("model", "retrieval", "initialisation", "a", "b", "domain")
    for part, figures in (
        ("means", ["bits_per_byte", "interval"]),
        ("comparisons", ["difference", "over_groups"]),
    ):
        headline = {str([row.get(name) for name in what]): row for row in results[part]}
        whole = [row for row in results["leakage"][part] if row["alpha"] == 1.0]
        assert whole
        for row in whole:
            for name in figures:
                expected = headline[str([row.get(name) for name in what])][name]
                assert row[name] == pytest.approx(expected), name
    assert "most so much was seen" in printed and "leakage-section" in (out / "report.html").read_text()
