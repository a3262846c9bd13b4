"""What was tried and what came of it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tests.chaos.children import End

FINE = ("same", "named", "repaired", "accepted")
BAD = ("different", "traceback", "hang", "exit", "outside", "orphan")


@dataclass(frozen=True)
class Case:
    """kind: kills, damage, … what: enough to try it again, with the seed. outcome: of FINE or BAD."""

    kind: str
    what: str
    outcome: str
    said: str = ""

    @property
    def bad(self) -> bool:
        return self.outcome in BAD


def outcome_of(end: End, alike: bool) -> str:
    """Of a command that had to end with the same bytes, or with a word (exit code 2)."""
    if end.code is None:
        return "hang"
    if end.traceback:
        return "traceback"
    if end.code == 0:
        return "same" if alike else "different"
    return "named" if end.code in (2, 130) else "exit"


def table(cases: Iterable[Case]) -> str:
    """Cases by kind and outcome, and the worst of each kind."""
    cases = list(cases)
    lines = []
    for kind in dict.fromkeys(case.kind for case in cases):
        of_kind = [case for case in cases if case.kind == kind]
        counts = Counter(case.outcome for case in of_kind)
        words = ", ".join(f"{counts[name]} {name}" for name in (*FINE, *BAD) if counts[name])
        lines.append(f"{kind:10s}{len(of_kind):6d}   {words}")
        for case in [case for case in of_kind if case.bad][:5]:
            lines.append(f"    {case.outcome}: {case.what}")
            lines += [f"        {line}" for line in case.said.strip().splitlines()[-6:]]
    return "\n".join(lines)
