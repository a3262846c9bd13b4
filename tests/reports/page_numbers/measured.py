"""What the committed files say, for the sentences of pages: each file is read once."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.tables import committed
from judging.comparisons import with_verdicts
from judging.intervals import Comparison
from judging.rows import JudgedRow, judge
from reports.forms import form_of, pair_name
from studies.results_file import read_results

ROOT = Path(__file__).parents[3]
_benchmarks = cache(committed)


def benchmark(name: str) -> dict[str, Any]:
    """benchmarks/results/NAME.json"""
    return _benchmarks()[name]


@cache
def results(name: str) -> dict[str, Any]:
    """experiments/results/NAME/results.json"""
    return read_results(ROOT / "experiments/results" / name / "results.json")


@cache
def rows(name: str) -> dict[str, JudgedRow]:
    """By name the rows of a study's file, judged."""
    return {row.name: row for row in judge(results(name))}


def difference(name: str, row: str) -> tuple[float, float, float]:
    """Mean and ends of the interval over all sources of chance, in bits per byte: row − what it is against."""
    return stated(rows(name)[row].difference)


def gain(name: str, row: str) -> tuple[float, float, float]:
    """The same of on − off."""
    return stated(rows(name)[row].gain)


def gain_apart(name: str, row: str) -> tuple[float, float, float]:
    """The same of on − off without near-duplicates."""
    return stated(rows(name)[row].gain_apart)


def stated(comparison: Comparison) -> tuple[float, float, float]:
    return comparison.mean, *comparison.over_all


def reversed_sign(stated: tuple[float, float, float]) -> tuple[float, float, float]:
    """Of b − a, where a page says by how much b is better."""
    mean, low, high = stated
    return -mean, -high, -low


def compared(pair: str, domain: str = "all") -> Mapping[str, Any]:
    """Of the comparison of the families: the record of `PaLM − Gopher`, as the page's table names it."""
    for record in with_verdicts(results("compare"))["comparisons"]:
        if record["domain"] == domain and pair_name(form_of(record["a"]), form_of(record["b"])) == pair:
            return record
    raise KeyError(pair)


def row_of(records: list[Mapping[str, Any]], **fields: Any) -> Mapping[str, Any]:
    """The one record with these fields."""
    (found,) = [record for record in records if fields.items() <= record.items()]
    return found
