"""From raw results to tables, in the terminal and in benchmarks/README.md."""

import json
from pathlib import Path
from typing import Any

from reports.tables import filled, github, table_of
from reports.words import four_digits

FOLDER = Path(__file__).parent


def markdown(result: dict[str, Any]) -> str:
    """The rows of a result as a table, figures to four digits, with its convention and origin beneath."""
    records = [{name: four_digits(value) for name, value in row.items()} for row in result["rows"]]
    environment = result["environment"]
    return (
        f"{github(table_of(records))}\n\n"
        f"{result['convention']}. {environment['cores']} cores, commit {environment['commit']}, "
        f"load {result['load']:.1f} at the start."
    )


def with_tables(readme: str, results: dict[str, dict[str, Any]]) -> str:
    """`readme` with the section of every result filled in anew."""
    return filled(readme, {name: markdown(result) for name, result in results.items()})


def committed() -> dict[str, dict[str, Any]]:
    """Results by name, as they lie in benchmarks/results."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((FOLDER / "results").glob("*.json"))
    }
