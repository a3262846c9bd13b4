"""What a compiled program sends: bytes by collective, read from its text."""

import math
import re
from collections import Counter

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(COLLECTIVES)})\(")
_ARRAY = re.compile(r"([a-z]+)(\d+)\w*\[([\d,]*)\]")
_CALLED = re.compile(r"(?:body|calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_TRIPS = re.compile(r"known_trip_count[^\d]*(\d+)")


def collective_bytes(text: str) -> Counter[str]:
    """Bytes of the results of each kind of collective, of one device and one run of the program, with loops.

    Raises:
      ValueError: a collective lies in a loop whose number of rounds the compiler does not tell.
    """
    sent: dict[str, Counter[str]] = {}
    called: dict[str, list[tuple[str, int | None]]] = {}
    entry = name = ""
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            name = head[2]
            sent[name], called[name] = Counter(), []
            entry = name if head[1] else entry
        elif name:
            if found := _COLLECTIVE.search(line):
                sent[name][found[2]] += sum(map(_bytes, _ARRAY.findall(found[1])))
            trips = _TRIPS.search(line)
            times = 1 if " while(" not in line else int(trips[1]) if trips else None
            called[name] += [(callee, times) for callee in _CALLED.findall(line)]

    def total(name: str) -> Counter[str]:
        amount = Counter(sent.get(name, {}))
        for callee, times in called.get(name, ()):
            inside = total(callee)
            if inside and times is None:
                raise ValueError(f"The loop {callee} holds collectives, and runs nobody knows how often.")
            amount += Counter({kind: size * (times or 1) for kind, size in inside.items()})
        return amount

    return total(entry)


def _bytes(array: tuple[str, str, str]) -> int:
    _, bits, shape = array
    return math.prod(map(int, filter(None, shape.split(",")))) * int(bits) // 8
