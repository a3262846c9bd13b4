"""How far apart two models may be that are called equal: a share of the effect that a table is about."""

from collections.abc import Mapping
from dataclasses import dataclass

from judging.documents import Documents
from judging.table import Table
from judging.verdicts import BETTER, LEAST, WORSE, outcome

EQUAL_SHARE = 0.25
# In a table without retrieval: what another activation of as many parameters brings, the plainest change of
# a feed-forward layer.
YARDSTICK = "ReLU"


@dataclass(frozen=True)
class Margin:
    """value: in bits per byte; None where it cannot be stated. of: the effect that it is a share of, or why
    there is none.
    """

    value: float | None
    of: str


def margin_of(table: Table, documents: Documents, least: Mapping[str, int] = LEAST) -> Margin:
    """A quarter of what the reference gains by its neighbours; of the yardstick's difference where the
    reference has none. An effect that is not decided is no measure.
    """
    reference = next(iter(table.rows))
    if table.gains[reference]:
        name, effect, nats = reference, f"the gain of {reference}", table.gains[reference]
    elif table.differences.get(YARDSTICK):
        name, effect, nats = YARDSTICK, f"the difference of {YARDSTICK}", table.differences[YARDSTICK]
    else:
        return Margin(None, f"the table has no row {YARDSTICK}")
    found = table.compared(name, nats, documents)
    verdict = "no text" if found is None else outcome(found, least)
    if verdict not in (BETTER, WORSE):
        return Margin(None, f"{effect} is undecided ({verdict})")
    return Margin(EQUAL_SHARE * abs(found.mean), effect)
