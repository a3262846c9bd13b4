"""The paired comparisons of a run, each with its verdict."""

from collections.abc import Iterable, Mapping
from typing import Any

from judging.verdicts import better_or_worse


def with_verdicts(results: Mapping[str, Any]) -> dict[str, Any]:
    """`results` of a run in which every entry of `comparisons`, and of those of the leakage part, has a
    `verdict` on a against b: better, worse, cannot tell, or the number of seeds where they are too few.
    """
    judged = {"comparisons": _judged(results["comparisons"])}
    if leakage := results.get("leakage"):
        judged["leakage"] = leakage | {"comparisons": _judged(leakage["comparisons"])}
    return {**results, **judged}


def _judged(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**entry, "verdict": better_or_worse(entry["difference"], entry["excludes_zero"], entry["seeds"])}
        for entry in entries
    ]
