"""The command, from options to tables, on a model that takes seconds; and the document against its results."""

import dataclasses
import json
from pathlib import Path

import pytest

from command import command
from experiments.parallelism import Options, parallelism
from models.families import configuration, count, parameter_shapes
from parallelism.strategies.schedules import BACKWARD, idle_share
from planning.watched_steps import side_by_side
from reports.systems.parallelism import terminal_tables, with_tables

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "experiments/results/parallelism/results.json"
SMALL = ["--model", "gopher/smoke", "--layers", "2", "--stages", "2", "--micro-batches", "4",
         "--batch-size", "8", "--length", "16", "--vocab-size", "64"]  # fmt: skip


def run(out, *arguments):
    command(parallelism, Options, "", [*SMALL, *arguments, "--out", str(out)])
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


def test_the_command_measures_what_it_says(tmp_path, capsys):
    document = tmp_path / "document.md"
    document.write_text(
        "<!-- measured -->\n<!-- end -->\n<!-- published -->\n<!-- end -->\n", encoding="utf-8"
    )
    results = run(tmp_path, "--document", str(document))
    free, gpipe, one_f_one_b = results["rows"]
    assert [row["strategy"] for row in results["rows"]] == ["pipeline-free", "gpipe", "1f1b"]
    assert [row["mesh"] for row in results["rows"]] == ["1x4x1", "2x2x1", "2x2x1"]
    assert gpipe["losses"] == one_f_one_b["losses"] == pytest.approx(free["losses"], rel=1e-5)
    assert gpipe["inputs_held"] == gpipe["inputs_held_formula"] == [4, 4]
    assert one_f_one_b["inputs_held"] == one_f_one_b["inputs_held_formula"] == [2, 1]
    assert gpipe["held_bytes"] > one_f_one_b["held_bytes"]
    for row in results["rows"]:
        assert 0 <= row["idle_share"] < 1
        assert row["temporary_bytes"] > 0
    assert gpipe["sent_bytes"] == one_f_one_b["sent_bytes"] == 8 * 16 * 32 * 4 // 2  # [B, T, D], over data
    assert gpipe["collective_bytes"] == one_f_one_b["collective_bytes"]
    assert all(
        row["weight_bytes"] == pytest.approx(sum(row["collective_bytes"].values())) for row in results["rows"]
    )
    weights = 4 * count(parameter_shapes(dataclasses.replace(configuration("gopher/smoke"), vocab_size=64)))
    # For the forward and for the backward pass, unless the compiler keeps them in between.
    assert 0.9 * weights < free["collective_bytes"]["all-gather"] * 4 / 3 < 2.1 * weights
    content = {"config", "rows", "timelines", "published_systems"}
    assert content | {"experiment", "layout", "command", "environment", "crc32"} == set(results)
    assert len(results["timelines"]["1f1b"]) == 2 * 2 * 4
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")
    assert terminal_tables(results) in capsys.readouterr().out
    assert "1f1b" in document.read_text(encoding="utf-8") and "PaLM 540B" in document.read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--stages", "64"], "take 128 devices"),
        (["--data", "0"], "--data 0: give a whole number of at least 1"),
        (["--model", "retro/smoke"], "dense model"),
        (["--layers", "3"], "2 equal parts"),
        (["--micro-batches", "3"], "multiple of 6"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit:
        run(tmp_path, *arguments)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_who_shares_a_batch_without_waiting_is_never_idle():
    spans = side_by_side(4, 6, forward=1.0, backward=2.0)
    assert idle_share(spans, 4) == pytest.approx(0)
    assert max(span.end for span in spans) == pytest.approx(6 / 4 * 3)
    assert sum(span.task.kind == BACKWARD for span in spans) == 8


def test_the_document_shows_the_committed_results():
    results = json.loads(COMMITTED.read_text(encoding="utf-8"))
    text = (ROOT / "docs/parallelism.md").read_text(encoding="utf-8")
    assert with_tables(text, results) == text
