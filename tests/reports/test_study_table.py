"""The tables say of every row what the file says, and fit where they are read."""

import re

import pytest

from judging.rows import judge
from reports.study.table import full_table, terminal_table
from reports.tables import WIDE, github
from reports.words import signed
from tests.reports.synthetic_results import results, row, unfinished

LONG = "a row whose name is as long as a sentence of a paper, with | in it"


@pytest.fixture(params=[None, -0.03], ids=["dense", "with gains"])
def made(request):
    gain = request.param
    found = results([
        row("published", against=None, gain=gain),
        row("serial", bits=2.05, gain=gain, expects="worse", note="tuned on another seed"),
        row(LONG, group="A group with a name that is longer than the names of rows", gain=gain, expects="equal"),
        row("unstable", group="Recipe", gain=gain),
        row("crashed", group="Recipe", against="unstable", gain=gain),
        row("last", group="Block", gain=gain),
    ])  # fmt: skip
    found["rows"][3]["cells"][1] = unfinished(1)
    found["rows"][4]["cells"] = [unfinished(seed, "failed") for seed in range(3)]
    return found


def lines_of(table, name):
    """The lines of a row in the terminal: those down to the next name or group at the margin."""
    lines = table.splitlines()
    [start] = [number for number, line in enumerate(lines) if line.startswith(f"{name} ")]
    end = next(number for number in range(start + 1, len(lines)) if not lines[number].startswith(" "))
    return "\n".join(lines[start:end])


def test_every_row_and_its_figures_stand_in_the_terminal(made):
    table = terminal_table(made)
    assert max(map(len, table.splitlines())) <= WIDE
    for found in judge(made):
        name = found.name if found.name != LONG else "a row whose name is as"
        own = lines_of(table, name)
        for difference in filter(None, (found.difference, found.gain)):
            assert signed(difference.mean) in own
            for interval in filter(None, (difference.over_seeds, difference.over_groups)):
                assert f"[{signed(interval.low)}, {signed(interval.high)}]" in own
        if found.detectable:
            assert f"±{found.detectable:.4f}" in own
    flat = " ".join(table.split())
    assert "same direction" in lines_of(table, "serial")
    assert "diverged: 1 of 3 seeds" in lines_of(table, "unstable")
    assert "failed: 3 of 3 seeds" in lines_of(table, "crashed") and "out of memory" in flat
    assert "− unstable" in flat and "serial: tuned on another seed" in flat
    assert "unstable: seed 1 diverged; last finite loss 5.20 nats at step 31" in flat
    assert re.search(r"“cannot tell” in \d+ of 20 draws", flat)


def test_groups_stand_above_their_rows_in_either_table(made):
    order = [
        r"Block",
        "published",
        "serial",
        "last",
        "A group",
        "a row whose",
        "Recipe",
        "unstable",
        "crashed",
    ]
    names = [line for line in terminal_table(made).splitlines()[3:] if re.match(r"\S", line)]
    titles = [next((title for title in order if line.startswith(title)), None) for line in names]
    assert [title for title in titles if title][: len(order)] == order
    cells = [line.split("|")[1].strip("* ") for line in github(full_table(judge(made))).splitlines()[2:]]
    assert [title for cell in cells for title in order if cell.startswith(title)] == order


def test_markdown_rows_are_single_lines_of_equally_many_cells(made):
    lines = github(full_table(judge(made))).splitlines()
    assert len(lines) == 2 + 3 + len(made["rows"])
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert ("gain on − off" in lines[0]) == bool(judge(made)[0].gain)


def test_a_table_without_comparisons_shows_what_neighbours_do():
    """As that of payoff: every row stands for itself."""
    found = results(
        [row("published", against=None, gain=-0.03), row("copying", against=None, gain=0.0)], null=False
    )
    table = terminal_table(found)
    assert "better" in lines_of(table, "published") and "cannot tell" in lines_of(table, "copying")
    assert "Null check" not in table and "Differences" not in table


def test_what_a_verdict_is_on_and_hangs_on_stands_in_either_table():
    found = results([
        row("published", against=None, gain=-0.04), row("learned", bits=2.1, gain=-0.04),
        row("published, 2x", against="published", gain=-0.04),
        row("learned, 2x", against="published, 2x", bits=2.2, gain=-0.04, expects="worse", interaction="learned"),
        row("alike", expects="equal", gain=-0.04),
        row("10% of the database", gain=-0.02, bits=2.02, expects="worse", draws=5,
            facts={"family": "retro", "database": 0.1}),
    ])  # fmt: skip
    rows = {judged.name: judged for judged in judge(found)}
    table, flat = terminal_table(found), " ".join(terminal_table(found).split())
    markdown = github(full_table(list(rows.values())))
    for text in (markdown, flat):
        assert "beyond learned" in text and signed(rows["learned, 2x"].interaction.mean) in text
    assert max(map(len, table.splitlines())) <= WIDE
    alike, share = rows["alike"], rows["10% of the database"]
    within = f"would pass a margin of ±{alike.decisive.reach:.4f}; it is ±{alike.margin.value:.4f}"
    assert within in markdown and f"±{alike.decisive.reach:.4f};" in lines_of(table, "alike")
    assert f"within ±{alike.margin.value:.4f} bits per byte, 25% of the gain of published" in flat
    low, high = share.difference.over_draws
    assert f"[{signed(low)}, {signed(high)}]" in markdown and f"[{signed(low)}, {signed(high)}]" in table
    assert re.search(r"\d+ seeds, \d+ groups", markdown) and f"{share.q_value:.3f}" in markdown


def test_a_table_of_chosen_rows_gives_no_verdict():
    found = results([row("published", against=None), row("worse", bits=2.1, expects="worse")])
    found["config"]["rows"] = "chosen"
    assert "no verdict on chosen rows: worse" in github(full_table(judge(found)))
