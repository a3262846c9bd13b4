"""A figure is written in one way wherever it stands, and a table is one table in Markdown and in the terminal."""

import re

import numpy as np
import pytest

from judging.intervals import Comparison, Interval, Spread
from reports.tables import Table, filled, github, plain_table, table_of, terminal
from reports.words import bounds, difference, flops, four_digits, plural, signed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (plural(1, "seed"), "1 seed"), (plural(0, "seed"), "0 seeds"), (plural(1200, "row"), "1,200 rows"),
        (flops(7.11e12), "7.1e12"), (flops(7.11e12, 3), "7.110e12"),
        (bounds(Interval(1.95, 2.07)), "[1.950, 2.070]"), (bounds([-0.05, 0.1], signed), "[−0.0500, +0.1000]"),
        (bounds(None), "–"), (four_digits(1234.5), "1,234"), (four_digits(0.12345), "0.1235"),
        (four_digits(None), ""), (four_digits(1500), "1,500"),
        (difference(Comparison(-0.5, Spread(-0.5, np.inf, 0, 1), Spread(-0.5, 0, 14, 15), Spread(-0.25, 0, 4, 5))),
         "−0.5000 bits per byte (groups [−0.5000, −0.5000], draws [−0.2500, −0.2500])"),
    ],
)  # fmt: skip
def test_figures(text, expected):
    assert text == expected


def test_one_table_in_markdown_and_in_the_terminal():
    table = Table("", ("a\nname", "b"), (("", ((("x",), ("1", "2")),)), ("group", ((("y|",), ("10",)),))))
    lines = [re.split(r" *\| *", line)[1:-1] for line in github(table).splitlines()]
    assert lines[0] == ["a name", "b"] and lines[2:] == [
        ["x", "1<br>2"],
        ["**group**", ""],
        ["y\\", "", "10"],
    ]
    assert terminal(table, right=("b",)).splitlines() == [
        "a      b", "name", "--------", "x      1", "       2", "group:", "y|    10",
    ]  # fmt: skip


def test_a_field_that_a_record_lacks_is_left_empty():
    assert table_of([{"a": 1}, {"b": 2}]) == plain_table("", ["a", "b"], [["1", ""], ["", "2"]])


def test_what_stands_between_marks_is_replaced_as_it_is():
    text = "<!-- one -->\nold\n<!-- end -->\n<!-- two: of make -->\n<!-- end -->\nrest"
    assert filled(text, {"one": r"1 \d", "two": "2\n3", "three": "4"}) == (
        "<!-- one -->\n1 \\d\n<!-- end -->\n<!-- two: of make -->\n2\n3\n<!-- end -->\nrest"
    )
