"""What a compiled program sends: bytes by collective, read from its text."""

import math
import re
from collections import Counter

# Of the array that a collective is about, whole: what every device sends over a ring of n.
SENT = {
    "all-gather": lambda result, n: result * (n - 1) / n,
    "all-reduce": lambda result, n: result * 2 * (n - 1) / n,
    "reduce-scatter": lambda result, n: result * (n - 1),
    "all-to-all": lambda result, n: result * (n - 1) / n,
    "collective-permute": lambda result, n: result,
}
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(SENT)})\(")
_ARRAY = re.compile(r"[a-z]+(\d+)\w*\[([\d,]*)\]")
_CALLED = re.compile(r"(?:body|calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_TRIPS = re.compile(r"known_trip_count[^\d]*(\d+)")
_GROUPS = re.compile(r"replica_groups=(?:mesh\[([^\]]*)\][^{]*\{([^}]*)\}|\{\{([\d,]*)\}|\[\d+,(\d+)\])")


def collective_bytes(text: str) -> Counter[str]:
    """Bytes that a device sends in one run of the program, by kind of collective, every round of every loop.

    Raises:
      ValueError: a collective in a loop whose number of rounds the compiler does not tell, or groups of
        devices that are written in an unknown way.
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
                result = sum(map(_bytes, _ARRAY.findall(found[1])))
                sent[name][found[2]] += SENT[found[2]](result, _group_size(line))
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


def _bytes(array: tuple[str, str]) -> int:
    bits, shape = array
    return math.prod(map(int, filter(None, shape.split(",")))) * int(bits) // 8


def _group_size(line: str) -> int:
    """How many devices take part with each other."""
    if " collective-permute(" in line:
        return 2
    found = _GROUPS.search(line)
    if found is None:
        raise ValueError(f"Who takes part in {line.strip()[:200]}?")
    axes, named, listed, counted = found.groups()
    if axes is not None:
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", axes))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", named))
    return int(counted) if counted else len(listed.split(","))
