"""What was tried, in numbers: record.json, which docs/reliability.md shows.

python -m tests.chaos.record        writes the page's table
"""

import json
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reports.tables import filled
from tests.chaos.cases import BAD, FINE, Case

ROOT = Path(__file__).parents[2]
RECORD, PAGE = Path(__file__).with_name("record.json"), ROOT / "docs/reliability.md"


def summary(arguments: str, seed: int, cases: Iterable[Case]) -> dict[str, Any]:
    """One call in numbers: its outcomes by kind, and what was measured."""
    kinds: dict[str, Counter] = {}
    cases = list(cases)
    for case in cases:
        kinds.setdefault(case.kind, Counter())[case.outcome] += 1
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    return {
        "command": f"python -m tests.chaos {arguments}".strip(), "seed": seed,
        "date": datetime.now(UTC).date().isoformat(), "commit": commit.stdout.strip() or None,
        "kinds": {kind: dict(outcomes) for kind, outcomes in kinds.items()},
        "figures": [case.what for case in cases if case.kind == "steps"],
    }  # fmt: skip


def records() -> list[dict[str, Any]]:
    """The committed calls."""
    return json.loads(RECORD.read_bytes()) if RECORD.exists() else []


def outcomes(kinds: Sequence[str] = (), of: Sequence[Mapping[str, Any]] | None = None) -> Counter:
    """How many cases had each outcome, of some kinds or of all."""
    counts: Counter = Counter()
    for call in records() if of is None else of:
        for kind, found in call["kinds"].items():
            if not kinds or kind in kinds:
                counts.update(found)
    return counts


def markdown(calls: Sequence[Mapping[str, Any]]) -> str:
    """A row for every kind, then the calls."""
    lines = ["| kind | cases | outcomes | calls |", "|---|---|---|---|"]
    for kind in dict.fromkeys(kind for call in calls for kind in call["kinds"]):
        counts = outcomes((kind,), calls)
        words = ", ".join(f"{counts[name]:,} {name}" for name in (*FINE, *BAD) if counts[name])
        made_by = ", ".join(
            str(number) for number, call in enumerate(calls, start=1) if kind in call["kinds"]
        )
        lines.append(f"| {kind} | {sum(counts.values()):,} | {words} | {made_by} |")
    lines += ["", "| call | command | seed | day | commit |", "|---|---|---|---|---|"]
    for number, call in enumerate(calls, start=1):
        lines.append(
            f"| {number} | `{call['command']}` | {call['seed']} | {call['date']} | {call['commit']} |"
        )
    figures = [figure for call in calls for figure in call["figures"]]
    return "\n".join(lines + ["", *(f"{figure}." for figure in figures)] if figures else lines)


if __name__ == "__main__":
    PAGE.write_text(
        filled(PAGE.read_text(encoding="utf-8"), {"chaos": markdown(records())}), encoding="utf-8"
    )
