"""The rows of the tables: one changed field each, nothing compared with what is not there, equal budgets."""

import dataclasses
from pathlib import Path

import pytest

from errors import InputError
from experiments import blocks, payoff, scaling, square, sweep
from experiments.ablations.by_family import ablation_rows
from judging.verdicts import DRAWS_FOR_A_VERDICT
from models.families import count, family_of, parameter_shapes
from studies.peaks import PEAKS, best_peaks, form_name
from studies.presets import train_flops_per_step
from studies.results_file import read_results
from studies.study import TUNING_SEED, StudyOptions, chosen, resolved
from studies.trials.trial import Trial

FAMILIES = ("palm", "gopher", "retro")
RESULTS = Path(__file__).parents[2] / "experiments/results"
STUDIES = {
    "scaling": scaling.rows(StudyOptions()), "payoff": payoff.rows(StudyOptions()),
    "blocks": blocks.rows(StudyOptions()),
    "sweep": sweep.rows("tiny", {form: (1e-3, 2e-3) for form in sweep.forms("tiny")}),
    **{f"square by {recipe}": square.rows(square.Options(recipe=recipe)) for recipe in ("own", "retro")},
}  # fmt: skip
TABLES = {family: ablation_rows(family, "tiny") for family in FAMILIES} | STUDIES
# What goes with a changed field: an activation of as many parameters; training alone at k neighbours.
COMPANIONS = {"d_ff", "evaluation_neighbours"}


@pytest.mark.parametrize("table", TABLES)
def test_rows_have_names_of_their_own_and_refer_to_rows_that_are_there(table):
    rows = TABLES[table]
    names = [row.name for row in rows]
    assert len(names) == len(set(names))
    for row in rows:
        assert row.against in (None, *names) and row.retrofit_of in (None, *names)
        assert row.interaction in (None, *names)
        assert (row.config is None) == (row.reevaluation is not None)
        assert row.reevaluation is None or row.reevaluation.of in names
        assert row.paper is None or row.paper.expects in ("worse", "better", "equal", None)
    assert rows[0].against is None and rows[0].reevaluation is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_changes_what_it_says_and_nothing_else(family):
    rows = {row.name: row for row in TABLES[family]}
    for row in rows.values():
        if (
            row.config is None
            or row.against is None
            or type(row.config) is not type(rows[row.against].config)
        ):
            continue
        base = dataclasses.asdict(rows[row.against].config)
        changed = {name for name, value in dataclasses.asdict(row.config).items() if value != base[name]}
        others = set(row.training) | ({"keys"} if row.keys != "bert" else set())
        others |= {"retrofit_of"} if row.retrofit_of else set()
        assert changed | others == set(row.change), row.name
        assert len(changed - COMPANIONS) + len(others) <= 2, row.name
        if row.name != "published initialisation":  # which has the embedding of its form
            assert len(changed - COMPANIONS) + len(others) == 1, row.name


def test_another_family_s_recipe_brings_its_z_loss():
    adam, adafactor = (
        next(row for row in TABLES[family] if row.name == name)
        for family, name in (("palm", "Adam instead of Adafactor"), ("gopher", "Adafactor instead of Adam"))
    )
    assert (z_loss_of(adam), z_loss_of(adafactor)) == (0.0, 1e-4)
    assert z_loss_of(dataclasses.replace(adafactor, training={"recipe": "palm", "z_loss": 0.0})) == 0.0
    assert z_loss_of(TABLES["palm"][0]) == 1e-4


def test_only_relative_positions_are_said_to_be_read_beyond_the_training_length():
    """As the difference there − the difference at the training length: by itself, learned ones may be worse."""
    claims = {
        family: [row for row in TABLES[family] if "Beyond" in row.group and row.paper] for family in FAMILIES
    }
    assert claims["palm"] == claims["retro"] == []
    assert [row.name for row in claims["gopher"]] == [
        f"learned positions against published, {times}x length" for times in (2, 4)
    ]
    for row in claims["gopher"]:
        assert row.interaction == "learned positions against published, overlapping"
        assert row.paper.expects == "worse"


@pytest.mark.parametrize("family", ["palm", "gopher"])
def test_longer_sequences_overlap_as_what_they_are_compared_with_does(family):
    rows = {row.name: row for row in TABLES[family]}
    longer = [row for row in rows.values() if row.reevaluation and row.reevaluation.longer]
    assert longer
    for row in longer:
        against = rows[row.against].reevaluation
        assert row.reevaluation.overlapping and against.overlapping


def test_shares_of_a_database_are_drawn_often_enough_for_a_verdict():
    rows = [row for table in TABLES.values() for row in table if row.reevaluation and row.reevaluation.share]
    assert rows and all(row.reevaluation.draws >= DRAWS_FOR_A_VERDICT for row in rows)


def test_what_is_said_to_be_of_equal_size_is():
    rows = {row.name: row for row in TABLES["palm"]}
    size, *others = (
        count(parameter_shapes(rows[name].config))
        for name in ("published", "GELU", "ReLU", "multi-head attention at equal parameters")
    )
    assert others == pytest.approx([size] * len(others), rel=0.002)


@pytest.mark.parametrize("study", ["scaling", "square by own", "square by retro"])
def test_rows_of_a_budget_cost_the_same_up_to_a_step(study):
    preset = resolved(StudyOptions())
    for row in STUDIES[study]:
        if row.config is not None:
            step = train_flops_per_step(row.config, preset)
            assert row.training["steps"] * step == pytest.approx(row.facts["budget"], abs=step)


def z_loss_of(row):
    """The weight of log²Z in the loss of a row's trials."""
    config, budget = row.config, {"steps": 1, "batch_size": 1, "length": 64, "evaluation_tokens": 1}
    trial = Trial("", config, 0, precision="float32", neighbours="", **budget | row.training)
    z_loss = trial.with_its_recipe.z_loss
    return family_of(config).z_loss if z_loss is None else z_loss


def test_the_square_trains_a_block_with_and_without_retrieval_alike():
    for study, ofs in (("own", ("retro", "palm")), ("retro", ("retro", "retro"))):
        rows = STUDIES[f"square by {study}"]
        assert [row.training["recipe"] for row in rows] == [recipe for recipe in ofs for _ in range(2)]
        for dense, retrieval in (rows[:2], rows[2:]):
            assert retrieval.against == dense.name and retrieval.config.decoder == dense.config
            assert z_loss_of(retrieval) == z_loss_of(dense)


def test_scaling_has_four_sizes_of_every_family_at_every_budget():
    rows = [row for row in STUDIES["scaling"] if row.config is not None]
    found = {(row.facts["budget"], type(row.config), row.facts["d_model"]) for row in rows}
    assert len(found) == len(rows) == 4 * 3 * 4


def test_a_choice_of_rows_takes_along_what_they_need():
    rows = ablation_rows("retro", "tiny")
    names = [row.name for row in chosen(rows, ("RETROfit", "k = 10"))]
    assert names == ["copying", "dense", "k = 10", "RETROfit"]
    assert chosen(rows, ()) == rows


def test_retro_trains_on_the_paper_s_numbers_of_neighbours_and_is_read_at_two():
    for row in ablation_rows("retro", "tiny"):
        if row.config and row.config.retrieves and "in training" in row.name:
            assert row.config.evaluation_neighbours == 2 != row.config.num_neighbours


def test_the_sweep_has_every_form_that_a_table_trains():
    """But those that a table changes in one field, which take the peak of what they are compared with."""
    forms = sweep.forms("tiny")
    assert len(forms) == 19
    published = [TABLES["palm"][0], TABLES["gopher"][0], TABLES["retro"][0], *STUDIES["blocks"]]
    others = [row for table in ("palm", "gopher") for row in TABLES[table] if "recipe" in row.training]
    squares = STUDIES["square by own"] + STUDIES["square by retro"]
    for row in [*published, *others, *STUDIES["payoff"], *STUDIES["scaling"], *squares]:
        if row.config is not None:
            recipe = row.training.get("recipe") or family_of(row.config).recipe
            assert form_name(row.config, recipe) in forms, row.name


def test_a_sweep_goes_on_while_the_best_lies_at_the_edge():
    values = (1.0, 2.0, 4.0)
    assert sweep._widened(values, 2.0) == values
    assert sweep._widened(values, 1.0) == (0.5, *values) and sweep._widened(values, 4.0) == (*values, 8.0)
    assert len(sweep._widened(tuple(range(1, 9)), 8)) == 8, "not for ever"


def test_the_peaks_are_the_best_of_the_committed_sweep():
    """And none lies at the edge of what was tried, so that none would have been better beyond."""
    results = read_results(RESULTS / "sweep/results.json")
    assert results["config"]["corpus"] == "installed" and results["config"]["held_out"] == "group"
    assert dict(PEAKS) == best_peaks(results)
    for form, peak in PEAKS.items():
        tried = [row["facts"]["peak"] for row in results["rows"] if row["group"] == form]
        assert len(tried) >= 5 and min(tried) < peak < max(tried), form
        assert {cell["seed"] for row in results["rows"] for cell in row["cells"]} == {TUNING_SEED}
    assert set(PEAKS) <= set(sweep.forms("tiny"))


def test_a_form_that_is_none_is_told_the_known_ones(tmp_path):
    with pytest.raises(
        InputError, match="no form 'gopher'. The forms are: .*gopher 128 wide, by palm's recipe"
    ):
        sweep.sweep(sweep.Options(rows=("gopher",), out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_best_peak_has_the_least_training_loss_of_those_that_finished():
    def row(peak, loss):
        return {"group": "form", "facts": {"peak": peak}, "cells": [{"train_nats": loss}]}

    assert best_peaks({"rows": [row(1e-3, 5.0), row(2e-3, 4.9), row(4e-3, None)]}) == {"form": 2e-3}


def test_dense_models_stand_beside_retro_at_every_point_of_payoff():
    rows = {row.name: row for row in STUDIES["payoff"]}
    for row in rows.values():
        if row.name.startswith(("published", "copying")) and "random" not in row.name:
            dense = rows[row.against]
            assert dict(row.change) == dict(dense.change) and dense.name.startswith("dense beside")
