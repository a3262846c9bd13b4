"""What a verdict is on, what there has to be enough of for one, and what it hangs on."""

import copy

import numpy as np
import pytest
from scipy import stats

from judging.rows import judge
from judging.verdicts import CANNOT_TELL, CHOSEN, GROUPS_FOR_A_VERDICT, OPPOSITE, SAME
from tests.reports.synthetic_results import LN2, results, row


def by_name(made):
    return {found.name: found for found in judge(made)}


def grouped(made, names):
    """The documents in groups of these names, over and over."""
    made = copy.deepcopy(made)
    for d, document in enumerate(made["documents"]):
        document["group"] = names[d % len(names)]
    return made


def moved(made, name, bits_d):
    """A row's losses moved by so many bits per byte [D] in every seed."""
    made = copy.deepcopy(made)
    bytes_d = np.array([document["bytes"] for document in made["documents"]])
    for cell in next(found for found in made["rows"] if found["name"] == name)["cells"]:
        cell["nats"] = (np.array(cell["nats"]) + bits_d * LN2 * bytes_d).tolist()
    return made


def table(**fields):
    return results([row("published", against=None), row("variant", bits=2.05, expects="worse") | fields])


def test_few_groups_give_no_verdict():
    names = [f"package {g}" for g in range(GROUPS_FOR_A_VERDICT)]
    assert by_name(grouped(table(), names))["variant"].verdict == SAME
    found = by_name(grouped(table(), names[1:]))["variant"]
    assert found.verdict == "14 groups" and found.q_value is None and found.decided_by == ()
    assert found.difference.over_groups is not None
    assert by_name(grouped(table(), ["one article"]))["variant"].verdict == "1 group"


def lengths(at_training, longer, **fields):
    """Learned positions beside others, at the training length and beyond."""
    return results([
        row("published", against=None), row("learned", bits=2.0 + at_training),
        row("published, longer", against="published"),
        row("learned, longer", against="published, longer", bits=2.0 + longer, expects="worse") | fields,
    ])  # fmt: skip


@pytest.mark.parametrize(("longer", "verdict"), [(0.1, CANNOT_TELL), (0.15, SAME), (0.05, OPPOSITE)])
def test_what_matters_more_elsewhere_is_judged_beyond_what_it_matters_anyway(longer, verdict):
    """A model that is worse at the training length already is not worse beyond it by that."""
    found = by_name(lengths(0.1, longer, interaction="learned"))["learned, longer"]
    assert found.verdict == verdict
    assert found.difference.mean == pytest.approx(longer, abs=0.01)
    assert found.decisive.mean == found.interaction.mean == pytest.approx(longer - 0.1, abs=0.01)
    older = by_name(lengths(0.1, longer))["learned, longer"]
    assert older.verdict == SAME and older.interaction is None and older.decisive == older.difference


def shares(bits_of_draws, noise=0.001):
    """A row whose database is drawn: so many bits per byte worse by the draw."""
    made = results([
        row("copying", against=None, gain=-0.03),
        row("10% of the database", against="copying", expects="worse", gain=-0.01, cell="copying",
            facts={"family": "retro", "database": 0.1}),
    ], noise=noise)  # fmt: skip
    bytes_d = np.array([document["bytes"] for document in made["documents"]])
    for cell, whole in zip(made["rows"][1]["cells"], made["rows"][0]["cells"]):
        if bits_of_draws:
            cell["draws"] = [
                (np.array(whole["nats"]) + bits * LN2 * bytes_d).tolist() for bits in bits_of_draws
            ]
            cell["nats"] = np.mean(cell["draws"], axis=0).tolist()
    return made


def test_one_draw_of_a_database_decides_nothing():
    assert by_name(shares(None))["10% of the database"].verdict == "1 draw"
    assert by_name(shares([0.02] * 4))["10% of the database"].verdict == "4 draws"


def test_another_draw_has_to_say_the_same():
    sure = by_name(shares([0.018, 0.02, 0.022, 0.019, 0.021]))["10% of the database"]
    assert sure.verdict == SAME and sure.difference.mean == pytest.approx(0.02)
    assert sure.difference.draws.number == 5 and sure.gain.draws.number == 5
    reference = stats.ttest_1samp([0.018, 0.02, 0.022, 0.019, 0.021], 0).confidence_interval(0.95)
    np.testing.assert_allclose(list(sure.difference.over_draws), reference)
    # One draw of five makes all of the mean: the other intervals have no room for zero, that over draws has.
    found = by_name(shares([0.1, 0.0, 0.0, 0.001, -0.001]))["10% of the database"]
    assert 0.0 not in found.difference.over_seeds and 0.0 not in found.difference.over_groups
    assert found.verdict == CANNOT_TELL and found.needed["draw"] > 5


def test_a_verdict_that_near_duplicates_make_is_another_without():
    near_d = np.arange(30) >= 10  # of which a fifth or more occurs in training
    made = grouped(table(), [f"{g:02}" for g in range(30)])
    for document in made["documents"]:
        document["shared_ngrams"] = 0.0
    same = by_name(made)["variant"]
    assert same.verdict == same.verdict_apart == SAME
    for document, near in zip(made["documents"], near_d):
        document["shared_ngrams"] = 0.5 * near
    few = by_name(made)["variant"]
    assert few.verdict == SAME and few.verdict_apart == "10 groups" and not few.hangs
    for document, near in zip(made["documents"], np.arange(30) >= 20):
        document["shared_ngrams"] = 0.5 * near
    copied = by_name(moved(made, "variant", -0.05 * (np.arange(30) < 20)))["variant"]
    assert copied.verdict == SAME and copied.verdict_apart == CANNOT_TELL and copied.hangs
    made["corpus"]["near_duplicate_threshold"] = 0.0
    assert by_name(made)["variant"].verdict_apart is None


def test_a_verdict_that_one_group_makes_names_it():
    names = [f"package {g:02}" for g in range(20)]
    rows = [row("published", against=None), row("variant", expects="worse")]
    made = grouped(results(rows, count=40, noise=0.001), names)
    assert by_name(made)["variant"].verdict == CANNOT_TELL
    helped = np.where(np.arange(40) % 20 == 3, -0.5, 0.02)
    found = by_name(moved(made, "variant", helped))["variant"]
    assert found.verdict == CANNOT_TELL and found.decided_by == ("package 03",)
    assert by_name(moved(made, "variant", np.full(40, 0.05)))["variant"].decided_by == ()


def test_the_false_discovery_rate_is_over_what_has_a_verdict():
    made = results([
        row("published", against=None), row("much worse", bits=2.2), row("the same"), row("lost"),
    ])  # fmt: skip
    made["rows"][3]["cells"] = made["rows"][3]["cells"][:2]
    found = by_name(made)
    p_values = [found[name].decisive.p_value for name in ("much worse", "the same")]
    expected = stats.false_discovery_control(p_values)
    assert [found[name].q_value for name in ("much worse", "the same")] == pytest.approx(expected)
    assert found["published"].q_value is None and found["lost"].q_value is None


def test_what_would_decide_is_told_of_what_is_undecided():
    found = by_name(results([
        row("published", against=None), row("much worse", bits=2.2, expects="worse"),
        row("the same", expects="worse"), row("equal", expects="equal"),
    ]))  # fmt: skip
    assert found["much worse"].needed == {} and found["published"].needed == {}
    assert set(found["the same"].needed) == {"seed", "group"}
    assert found["equal"].verdict == CANNOT_TELL and found["equal"].needed == {}  # there is no margin


def test_without_an_effect_that_is_decided_there_is_no_margin():
    def margin(*rows, **fields):
        rows = [row("published", against=None, **fields), row("variant", expects="equal", **fields), *rows]
        return by_name(results(rows))["variant"].margin

    assert margin().value is None and "no row ReLU" in margin().of
    undecided = margin(row("ReLU"))
    assert undecided.value is None and undecided.of == "the difference of ReLU is undecided (cannot tell)"
    assert margin(row("ReLU", bits=1.92)).value == pytest.approx(0.02, rel=0.1)
    gain = margin(row("ReLU", bits=2.2), gain=-0.04)
    assert gain.value == pytest.approx(0.01, rel=0.1) and gain.of == "the gain of published"


@pytest.mark.parametrize(
    "choice",
    [{"config": {"rows": "chosen"}}, {"command": "python -m experiments.ablate palm --rows variant"}],
)
def test_rows_that_were_chosen_have_no_verdict(choice):
    made = table()
    made["config"] |= choice.get("config", {})
    made["command"] = choice.get("command", made["command"])
    found = by_name(made)["variant"]
    assert found.verdict == f"{CHOSEN}: worse"
    assert found.gain_verdict is None and found.q_value is None and found.needed == {}
    assert found.difference == by_name(table())["variant"].difference
