"""The command: what it refuses, what it advises, the committed table; with libtpu, a whole plan."""

import dataclasses
import json
from pathlib import Path

import pytest

from command import command
from errors import InputError
from experiments.plan import Options, details, plan
from models.families import configuration, with_decoder_fields
from parallelism.mesh import MeshShape
from planning.ahead_of_time import Compiled, compile_step, planned
from planning.collectives import Collective
from planning.plans import row_of, run_of
from planning.search import candidates, recommended
from planning.topologies import has_libtpu, parse_topology
from planning.workload import Run
from reports.systems.plan import markdown, pipelined
from training.precision import MIXED

FOLDER = Path(__file__).parents[2]
COMMITTED = FOLDER / "experiments" / "results" / "plan" / "results.json"
PUBLISHED_CHIPS = {"palm/540b": 6144, "gopher/280b": 4096}
needs_libtpu = pytest.mark.skipif(not has_libtpu(), reason="needs libtpu: pip install '.[tpu]'")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """The default folders are the test's own."""
    monkeypatch.chdir(tmp_path)


def row(
    fits=True, model="palm/540b", topology="v4:12x16x16", pods=2, model_parallel=12, batch=2048, **compiled
):
    options = Options(model, topology, pods, model_parallel, batch)
    values = {"arguments_gib": 2.0, "temporaries_gib": 9.0} | compiled
    found = [Collective("all-gather", ("model",), 12, 10**9, 118)]
    outcome = Compiled(fits, seconds=34.0, cpu_seconds=60.0, collectives=found if fits else [], **values)
    parsed = parse_topology(topology)
    return row_of(run_of(options, parsed), parsed, model, outcome)


def test_a_batch_that_the_mesh_does_not_divide_is_refused():
    options = Options("palm/8b", "v4:2x2x1", batch=7)
    with pytest.raises(InputError, match="splits a batch 4 ways.*7 sequences.*batch that is a multiple of 4"):
        run_of(options, parse_topology(options.topology))


@pytest.mark.parametrize("field", ["batch", "length", "micro_batches"])
def test_numbers_below_one_are_refused(field):
    options = Options("palm/8b", "v4:2x2x1", **{field: 0})
    with pytest.raises(InputError, match="must all be at least"):
        run_of(options, parse_topology(options.topology))


def test_a_document_is_of_the_published_runs():
    with pytest.raises(InputError, match="give --published"):
        plan(Options(document=Path("plan.md")))


def test_a_padded_vocabulary_is_said():
    text = details(row())
    assert "12 does not divide the vocabulary of 256,000: it is padded to 256,008 rows" in text
    assert "padded" not in details(
        row(model="palm/8b", topology="v4:4x8x8", pods=1, model_parallel=4, batch=512)
    )


def test_a_plan_that_does_not_fit_says_by_how_much_and_what_to_change():
    text = details(row(fits=False, temporaries_gib=38.75))
    assert "does not fit: 40.8 GiB of 30.75" in text and "10.0 GiB too much" in text
    assert "--model-parallel" in text and "--micro-batches" in text
    assert "more chips" in details(row(fits=False, arguments_gib=35.0, temporaries_gib=1.0))


def test_a_program_that_compiles_but_is_too_large_does_not_fit():
    assert not row(temporaries_gib=30.0)["fits"]


def test_a_row_says_what_the_issue_asks():
    assert {
        "model", "topology", "pods", "mesh", "fits", "peak_gib", "hbm_gib", "compile_seconds", "collectives",
        "predicted_mfu", "published_mfu",
    } <= row().keys()  # fmt: skip
    assert row()["peak_gib"] == 11.0 and row()["published_mfu"] == 46.2


def test_the_search_goes_from_fast_to_slow_and_leaves_out_what_does_not_divide():
    topology = parse_topology("v4:4x4x4")
    runs = candidates(Options("gopher/7.1b", "v4:4x4x4", batch=1024), topology)
    assert {run.mesh.model for run in runs} <= {1, 2, 4, 8, 16, 32}  # heads
    assert all(run.batch % (run.mesh.data * run.micro_batches) == 0 for run in runs)
    times = [
        row_of(run, topology, "gopher/7.1b", Compiled(False, 1, 1, 1, 1, []))["predicted_step_seconds"]
        for run in runs
    ]
    assert times == sorted(times) and len(times) > 3
    assert recommended(row()) == "--model-parallel 12 --micro-batches 1"


def refused(capsys, *options):
    """The paragraph that the command ends with."""
    with pytest.raises(SystemExit) as stop:
        command(plan, Options, "", ["palm/smoke", *map(str, options)])
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.mark.skipif(has_libtpu(), reason="libtpu is installed")
def test_without_libtpu_the_command_says_how_to_get_it(tmp_path, capsys):
    said = refused(capsys, "--topology", "v4:2x2x1", "--batch", 4, "--out", tmp_path)
    assert "pip install 'libtpu" in said


def test_an_unknown_topology_ends_in_a_paragraph(capsys):
    assert "Known are v3:AxB" in refused(capsys, "--topology", "v5:4x4")


@needs_libtpu
def test_a_small_plan_from_end_to_end(tmp_path, capsys, monkeypatch):
    options = "palm/smoke --topology v4:2x2x1 --model-parallel 2 --batch 4 --length 128".split()
    command(plan, Options, "", [*options, "--out", str(tmp_path)])
    (made,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert made["fits"] and 0 < made["peak_gib"] < made["hbm_gib"] == 30.75 and made["mesh"] == "1x2x2"
    assert {"all-gather", "reduce-scatter"} <= {one["kind"] for one in made["collectives"]}
    assert 0 < made["predicted_mfu"] < 100 and "It fits" in capsys.readouterr().out
    monkeypatch.setattr("planning.plans.compile_step", None)  # the same code compiles a layout once
    command(plan, Options, "", [*options, "--out", str(tmp_path / "again")])
    assert json.loads((tmp_path / "again/results.json").read_text())["rows"] == [made]


@needs_libtpu
def test_heads_that_the_mesh_does_not_divide_are_named(tmp_path, capsys):
    said = refused(capsys, "--topology", "v4:2x2x1", "--model-parallel", 4, "--out", tmp_path)
    assert "'heads' 4 ways" in said


@needs_libtpu
def test_what_the_compiler_refuses_is_a_result(tmp_path, capsys):
    """8.6 billion parameters in float32 with two moments, over four chips."""
    options = "palm/8b --topology v4:2x2x1 --model-parallel 4 --batch 1".split()
    command(plan, Options, "", [*options, "--out", str(tmp_path)])
    (made,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert not made["fits"] and made["collectives"] == []
    assert "It does not fit" in capsys.readouterr().out


@needs_libtpu
def test_layers_outside_loops_are_rematerialised():
    """RETRO's cross-attending layers stand between its loops, where the compiler would keep what is computed
    again.
    """
    config = dataclasses.replace(
        with_decoder_fields(configuration("retro/smoke"), num_layers=4, d_model=256, d_ff=1024),
        cca_layers=(1, 2, 3, 4),
    )
    run = planned(Run(config, MeshShape(1, 4, 1), 16, 512, 1, MIXED))
    stored = dataclasses.replace(run, config=with_decoder_fields(run.config, remat="none"))
    again, kept = (
        compile_step(one, parse_topology("v4:2x2x1"), "retro").temporaries_gib for one in (run, stored)
    )
    assert again < 0.6 * kept


def committed():
    return json.loads(COMMITTED.read_text(encoding="utf-8"))


def test_the_table_in_the_docs_is_the_committed_results():
    assert (FOLDER / "docs" / "plan.md").read_text(encoding="utf-8") == markdown(committed())


def test_the_committed_runs_fit_on_the_published_chips():
    rows = {found["model"]: found for found in committed()["rows"]}
    assert rows.keys() == {"palm/8b", "palm/62b", "palm/540b", "gopher/7.1b", "gopher/280b", "retro/7.5b"}
    assert all(found["fits"] for found in rows.values())
    assert {model: rows[model]["chips"] for model in PUBLISHED_CHIPS} == PUBLISHED_CHIPS
    largest = rows["palm/540b"]
    assert largest["mesh"] == "2x256x12" and largest["batch"] == 2048
    assert largest["peak_gib"] <= 20 and largest["compile_seconds"] < 120
    assert abs(largest["predicted_mfu"] - 46.2) < 5 and largest["exchange_hidden"] > 0.9
    between = sum(one["bytes"] for one in largest["collectives"] if one["network"] == "DCN")
    assert between == pytest.approx(2 * 540.35e9 / 3072, rel=0.03)  # two bytes per parameter


def test_a_bubble_is_added_as_the_formula_says():
    assert pipelined(40.0, 9, stages=4) == pytest.approx(40 * 9 / 12)
