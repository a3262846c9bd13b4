"""The sentences say what the rows say, and curves connect what differs in one thing alone."""

import copy

import numpy as np
import pytest

from judging.rows import gain_interaction, interaction, judge
from reports.study.curve_findings import block_sentences, curve_sentences, law_sentences
from reports.study.curves import curves, on_blocks, scaled
from reports.study.findings import (
    counted,
    counted_by_gain,
    deciding_groups,
    directions,
    false_discoveries,
    fragile,
    scale,
    unfinished,
    without_claims,
    would_decide,
)
from reports.words import signed
from tests.reports.synthetic_results import LN2, results, row
from tests.reports.synthetic_results import unfinished as lost
from tests.reports.synthetic_studies import (
    ablation_of_palm,
    ablation_of_retro,
    facts,
    payoff,
    scaling,
    square,
)


def drawn(made):
    """Curves by axis and measure: label → the points' x and rows."""
    return {
        (found.axis, found.measured): {
            curve.label: [(point.x, point.row.name) for point in curve.points] for curve in found.curves
        }
        for found in curves(judge(made))
    }


def shifted(made, name, bits):
    """The row's bits per byte moved in every seed and document, its reading without neighbours left."""
    made = copy.deepcopy(made)
    bytes_d = np.array([document["bytes"] for document in made["documents"]])
    for cell in next(found for found in made["rows"] if found["name"] == name)["cells"]:
        cell["nats"] = (np.array(cell["nats"]) + bits * LN2 * bytes_d).tolist()
    return made


def test_readings_of_the_same_cells_make_a_curve():
    found = drawn(ablation_of_retro())
    assert found == {
        ("k", "on − off"): {"copying": [(1, "k = 1"), (2, "copying"), (4, "k = 4"), (10, "k = 10")]},
        ("database", "on − off"): {
            "copying": [(0.01, "1% of the database"), (0.1, "10% of the database"), (1.0, "copying")]
        },
    }


def test_what_differs_in_two_things_or_in_none_of_them_is_on_no_curve():
    def read(name, **numbers):
        return row(
            name,
            against="copying",
            gain=-0.02,
            cell="copying",
            facts=facts("retro", "on", "copying", **numbers),
        )

    made = results([
        row("copying", against=None, gain=-0.03, facts=facts("retro", "on", "copying", k=2, database=1.0)),
        read("k = 1", k=1, database=1.0), read("both", k=4, database=0.1), read("random", k=2, database=1.0),
    ])  # fmt: skip
    assert drawn(made) == {("k", "on − off"): {"copying": [(1, "k = 1"), (2, "copying")]}}


def test_lengths_are_compared_at_the_same_length():
    found = drawn(ablation_of_palm())
    assert set(found["length", "bits per byte"]) == {"published, 1x length", "learned positions, 1x length"}
    assert [x for x, _ in found["length", "bits per byte"]["published, 1x length"]] == [512, 1024, 2048]
    beside = found["length", "− the published form at the same length"]
    assert set(beside) == {"learned positions, 1x length"}


def test_windows_that_overlap_are_on_no_curve_with_windows_side_by_side():
    made = ablation_of_palm()
    for made_row in made["rows"]:
        if made_row["name"].endswith("1x length"):
            made_row["facts"]["overlapping"] = False
    points = drawn(made)["length", "bits per byte"]
    assert {x for line in points.values() for x, _ in line} == {1024, 2048}


def test_scaling_has_a_law_per_kind_and_gains_over_sizes():
    made = scaling()
    judged = judge(made)
    laws, found = scaled(made, judged), curves(judged)
    assert [kind.label for kind in laws] == ["Gopher", "PaLM", "RETRO on (copying, ours)"]
    assert all(len(kind.rows) == 12 and len(kind.fit.budgets) == 4 and kind.fit.law.c for kind in laws)
    for sentence in law_sentences(laws):
        assert "exponent" in sentence
        assert sentence.endswith(
            "At 2 of 4 budgets the best is the smallest or the largest size that was "
            "tried: this is no envelope of sizes."
        )
    assert any("better in 12 of 12 and worse in 0" in sentence for sentence in curve_sentences(found))
    dense = {one.axis: one.curves for one in found if one.measured == "with retrieval − dense"}
    assert {curve.label for curve in dense["k"]} == {
        f"retro {wide} wide, 7.1e+12 FLOPs" for wide in (64, 96, 128)
    }
    assert [len(curve.points) for curve in dense["parameters"]] == [3, 3, 3, 3]


def test_what_more_neighbours_and_a_larger_database_bring_is_told_point_by_point():
    neighbours, database = curve_sentences(curves(judge(ablation_of_retro())))
    rows = {row.name: row for row in judge(ablation_of_retro())}
    points = [
        (name, rows[name].gain.mean) for name in ("1% of the database", "10% of the database", "copying")
    ]
    listed = ", ".join(
        f"{signed(gain)} at {name.split('%')[0] if '%' in name else 100} %" for name, gain in points
    )
    assert database == f"By share of the database, on − off is, in bits per byte: copying {listed}."
    assert neighbours.startswith("By neighbours at evaluation, on − off is") and "at 10." in neighbours


def test_a_single_budget_is_no_scaling():
    made = square()
    assert scaled(made, judge(made)) == [] and curves(judge(made)) == []


def test_a_row_that_lost_every_seed_stands_on_no_curve():
    made = scaling()
    made["rows"] = [found for found in made["rows"] if found["facts"]["family"] == "gopher"]
    first = made["rows"][0]
    first["cells"] = [lost(cell["seed"]) | {"cell": cell["cell"]} for cell in first["cells"]]
    judged = judge(made)
    [gopher] = scaled(made, judged)
    assert len(gopher.rows) == 11 and all(point.name != first["name"] for point in gopher.rows)
    assert first["name"] in unfinished(judged) and "diverged: 3 of 3 seeds" in unfinished(judged)


def test_when_retrieval_starts_to_pay():
    published, copying = curve_sentences(curves(judge(payoff())))
    assert published.startswith(
        "RETRO with the published initialisation is not better with its neighbours at the last of 7"
    )
    assert published.endswith("worse.")
    assert "copying initialisation is better with its neighbours from 97.6K training tokens on" in copying
    late = shifted(payoff(), "copying, after 3,050 steps", 1.0)  # better before and after, not there
    assert (
        "better with its neighbours from 6.25M training tokens on" in curve_sentences(curves(judge(late)))[1]
    )


def test_what_the_block_changes():
    made, names = square(), ("PaLM block, retrieval", "Gopher block, retrieval")
    between, back = interaction(made, *names), interaction(made, *reversed(names))
    assert between.mean == pytest.approx(-back.mean) == pytest.approx(0.02, abs=0.004)
    sentences = block_sentences(on_blocks(made, judge(made)))
    assert [text.split(" is ")[0] for text in sentences] == [
        "On the Gopher block retrieval − dense", "On the PaLM block retrieval − dense",
        "Retrieval − dense on the PaLM block minus that on the Gopher block",
        "On the Gopher block on − off", "On the PaLM block on − off",
        "On − off on the PaLM block minus that on the Gopher block",
    ]  # fmt: skip
    assert signed(between.mean) in sentences[2] and "retrieval is worth less there" in sentences[2]
    sentences = block_sentences(on_blocks(shifted(made, names[0], -0.1), judge(made)))
    assert "retrieval is worth more there" in sentences[2]
    sentences = block_sentences(on_blocks(shifted(made, names[0], -between.mean), judge(made)))
    assert sentences[2].endswith("cannot tell.")


def test_what_the_block_changes_in_the_gain():
    made, names = square(), ("PaLM block, retrieval", "Gopher block, retrieval")
    between, (*_, sentence) = gain_interaction(made, *names), block_sentences(on_blocks(made, judge(made)))
    rows = {row.name: row for row in judge(made)}
    assert between.mean == pytest.approx(rows[names[0]].gain.mean - rows[names[1]].gain.mean)
    assert (
        between.mean > 0 and signed(between.mean) in sentence and "retrieval is worth less there" in sentence
    )
    assert gain_interaction(made, "Gopher block, dense", names[1]) is None


def test_every_direction_is_listed_once_with_its_number():
    for made in (ablation_of_palm(), ablation_of_retro()):
        judged = judge(made)
        lines = [line for found in directions(judged).values() for line in found]
        claimed = [found for found in judged if found.row["paper"]]
        assert len(lines) == len(claimed)
        for found in claimed:
            [line] = [line for line in lines if line.startswith(f"{found.name}:")]
            assert signed(found.difference.mean) in line and found.row["paper"]["figure"] in line
        assert counted(judged).startswith(f"Papers give {len(claimed)} directions.")
    assert set(directions(judge(ablation_of_palm()))) == {
        "reproduced", "opposite", "cannot tell at this size",
        "not judged: too few seeds, groups or draws, or chosen rows",
    }  # fmt: skip


def test_a_direction_that_is_about_a_difference_of_differences_says_so():
    made = results([
        row("published", against=None), row("learned", bits=2.1), row("published, 2x", against="published"),
        row("learned, 2x", against="published, 2x", bits=2.15, expects="worse", interaction="learned"),
    ])  # fmt: skip
    judged = judge(made)
    [line] = directions(judged)["reproduced"]
    assert line.startswith(
        "learned, 2x: expected worse than published, 2x, beyond the difference of learned ("
    )
    assert signed(judged[3].interaction.mean) in line and signed(judged[3].difference.mean) not in line
    assert f"(learned, 2x {signed(judged[3].interaction.mean)})" in counted(judged)


def test_what_verdicts_hang_on_is_told_with_its_rows():
    made = results([row("published", against=None), row("variant", expects="worse")], noise=0.001)
    judged = judge(made)
    assert fragile(judged) == deciding_groups(judged) == false_discoveries(judged) == ""
    assert would_decide(judged).startswith("What would decide, were means and spreads as seen. variant: ")
    bytes_d = np.array([document["bytes"] for document in made["documents"]])
    helped_d = np.where(np.arange(30) == 3, -0.5, 0.05) * LN2 * bytes_d
    for cell in made["rows"][1]["cells"]:
        cell["nats"] = (np.array(cell["nats"]) + helped_d).tolist()
    judged = judge(made)
    assert judged[1].decided_by == ("module_3",) and judged[1].hangs
    assert fragile(judged) == (
        "1 of 1 verdict would be another without near-duplicates or without one group of documents: variant."
    )
    assert deciding_groups(judged) == (
        "Without one group of documents a verdict is another: module_3 (variant)."
    )
    sure = judge(results([row("published", against=None), row("worse", bits=2.2), row("the same")]))
    assert false_discoveries(sure).startswith(
        "1 of 2 differences exclude zero, 1 of them at a false discovery"
    )
    assert fragile(sure) == "" and "worse" not in would_decide(sure)


def test_what_another_model_gains_is_told_beside_what_it_loses():
    judged = judge(ablation_of_retro())
    rows = {found.name: found for found in judged}
    [line] = [line for lines in directions(judged).values() for line in lines if line.startswith("N only:")]
    _, by_gain = line.split("By the gain on − off: ")
    assert by_gain.startswith(rows["N only"].gain_verdict)
    for found in (rows["N only"].gain, rows["copying"].gain, rows["N only"].gain_difference):
        assert signed(found.mean) in by_gain
    assert f"(N only {signed(rows['N only'].gain_difference.mean)})" in counted_by_gain(judged)
    assert "k = 1" not in counted_by_gain(judged) and counted_by_gain(judge(ablation_of_palm())) == ""


def test_what_the_papers_do_not_say_is_told_where_it_differs():
    made = results(
        [
            row("published", against=None),
            row("worse", bits=2.1),
            row("the same"),
            row("said", bits=2.1, expects="worse"),
        ]
    )
    assert named_in(without_claims(judge(made))) == ["worse"]
    assert counted(judge(results([row("published", against=None), row("worse", bits=2.1)]))) == ""


def named_in(sentence):
    return [
        name for name in ("worse", "the same", "said") if f"({name} " in sentence or f", {name} " in sentence
    ]


def test_a_path_is_named_by_its_last_part():
    made = square()
    made["config"]["corpus"] = "../data/notes/"
    assert "corpus notes, on cpu" in scale(made)
