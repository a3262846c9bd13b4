"""From raw results to tables, in the terminal and in benchmarks/README.md."""

import json
import re
from pathlib import Path
from typing import Any

from tabulate import tabulate

FOLDER = Path(__file__).parent
SECTION = r"(<!-- {name} -->\n).*?(<!-- end -->)"


def markdown(result: dict[str, Any]) -> str:
    """The rows of a result as a table, figures to four digits, with its convention and origin beneath."""
    rows = [{name: _shown(value) for name, value in row.items()} for row in result["rows"]]
    environment = result["environment"]
    table = tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)
    return (
        f"{table}\n\n{result['convention']}. {environment['cores']} cores, commit {environment['commit']}, "
        f"load {result['load']:.1f} at the start."
    )


def with_tables(readme: str, results: dict[str, dict[str, Any]]) -> str:
    """`readme` with the section of every result filled in anew."""
    for name, result in results.items():
        table = markdown(result)
        readme = re.sub(
            SECTION.format(name=name), lambda m, t=table: f"{m[1]}{t}\n{m[2]}", readme, flags=re.DOTALL
        )
    return readme


def committed() -> dict[str, dict[str, Any]]:
    """Results by name, as they lie in benchmarks/results."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((FOLDER / "results").glob("*.json"))
    }


def _shown(value):
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else value
