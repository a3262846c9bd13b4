"""The paired comparisons of a run, each with its verdict."""

from collections.abc import Iterable, Mapping
from typing import Any

from judging.verdicts import GROUPS_FOR_A_VERDICT, SEEDS_FOR_A_VERDICT, better_or_worse, number_text


def with_verdicts(results: Mapping[str, Any]) -> dict[str, Any]:
    """`results` of a run in which every entry of `comparisons`, and of those of the leakage part, has a
    `verdict` on a against b: better, worse, cannot tell, or the number of seeds or groups where they are too
    few. Older files have intervals over documents and no `groups`: there they stand as `over_groups`, and the
    seeds alone can be too few.
    """
    judged = {"comparisons": _judged(results["comparisons"])}
    if leakage := results.get("leakage"):
        judged["leakage"] = leakage | {"comparisons": _judged(leakage["comparisons"])}
    return {**results, **judged}


def drawn(results: Mapping[str, Any]) -> str:
    """What the intervals of a run's file are over beside seeds: groups, or documents in older files."""
    return "groups" if all("groups" in entry for entry in results["comparisons"]) else "documents"


def _judged(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"over_groups": entry.get("over_documents"), **entry, "verdict": _verdict(entry)} for entry in entries
    ]


def _verdict(entry: Mapping[str, Any]) -> str:
    if entry["seeds"] < SEEDS_FOR_A_VERDICT:
        return number_text(entry["seeds"], "seed")
    if entry.get("groups", GROUPS_FOR_A_VERDICT) < GROUPS_FOR_A_VERDICT:
        return number_text(entry["groups"], "group")
    return better_or_worse(entry["difference"], entry["excludes_zero"])
