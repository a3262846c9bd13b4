"""The collectives of a compiled program, read from its text: what every device sends in one run, and to whom.

It reads what XLA's CPU and TPU compilers write. Between slices of TPUs a program hands its data to the host
(send, recv); everything else there is within a slice.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from parallelism.mesh import AXES, MeshShape

# Of the whole array that a collective is about, what a device sends over a ring of n.
SENT = {
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: (n - 1) / n,
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1.0,
}


@dataclass(frozen=True)
class Collective:
    """One instruction. array: bytes of the whole array that is gathered, or summed, or passed on. axes: of
    the mesh, along which its groups lie. size: devices in a group. count: how often it runs.
    """

    kind: str
    axes: tuple[str, ...]
    size: int
    array: int
    count: int

    @property
    def network(self) -> str:
        """ "DCN" between pods, "ICI" within one."""
        return "DCN" if "pod" in self.axes else "ICI"

    @property
    def sent(self) -> float:
        """Bytes that a device sends per run of the program."""
        return self.array * SENT[self.kind](self.size) * self.count


def collectives(text: str, mesh: MeshShape) -> list[Collective]:
    """Those of `text`, in the order of their first use, each as often as the loops that it is in go round.

    Groups of one device are left out.

    Args:
      text: what `jax.stages.Compiled.as_text` returns; devices numbered as they lie in the mesh.

    Raises:
      ValueError: a loop around a collective whose rounds the text does not tell, or groups in an unknown
      notation.
    """
    program = _parse(text)
    rows = []
    for instruction, count in _walk(program, program.entry, 1):
        kind, array, group = _read(program, instruction, mesh)
        if len(group) > 1:
            rows.append(Collective(kind, _axes(group, mesh), len(group), array, count))
    return rows


def totals(program: Iterable[Collective]) -> list[dict]:
    """Rows of kind, network, axes, count and bytes (sent per device), the most bytes first."""
    rows: dict[tuple, dict] = {}
    for one in program:
        empty = {
            "kind": one.kind, "network": one.network, "axes": " x ".join(one.axes), "count": 0, "bytes": 0.0,
        }  # fmt: skip
        row = rows.setdefault((one.kind, one.axes), empty)
        row["count"] += one.count
        row["bytes"] += one.sent
    return sorted(rows.values(), key=lambda row: -row["bytes"])


class _Program(NamedTuple):
    """computations: name -> its lines. instructions: name -> its line. partitions: devices of the program."""

    computations: Mapping[str, list[str]]
    instructions: Mapping[str, str]
    entry: str
    partitions: int


_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = ")
_COLLECTIVE = re.compile(rf" ({'|'.join(SENT)})(-start)?\(")
_SEND = re.compile(r' send\(.*_xla_megascale_transfer_type="(\w+)"')
_CALLED = re.compile(r"(?:calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+)\w*\[([\d,]*)\]")


def _parse(text: str) -> _Program:
    computations: dict[str, list[str]] = {}
    instructions, entry, lines = {}, "", []
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            lines = computations[head[2]] = []
            entry = head[2] if head[1] else entry
        elif instruction := _INSTRUCTION.match(line):
            lines.append(line)
            instructions[instruction[1]] = line
    partitions = re.search(r"num_partitions=(\d+)", text)
    return _Program(computations, instructions, entry, int(partitions[1]) if partitions else 1)


def _walk(program: _Program, entry: str, count: int) -> Iterator[tuple[str, int]]:
    """(instruction, how often it runs) for every collective that `entry` comes to."""

    @cache
    def inside(name: str) -> list[tuple[str, int]]:
        """(instruction, how often) for what one run of the computation `name` comes to."""
        runs = []
        for line in program.computations.get(name, ()):
            if _COLLECTIVE.search(line) or _SEND.search(line):
                # A TPU sums and scatters by an all-reduce inside a kernel that keeps a slice.
                runs.append((f"{line} scattered" if name.startswith("all-reduce-scatter") else line, 1))
            if " while(" in line:
                body = inside(re.search(r"body=%?([\w.\-]+)", line)[1])
                rounds = _rounds(program, line) if body else 0
                runs += [(one, rounds * times) for one, times in body]
            for called in _CALLED.findall(line):
                runs += inside(called)
        return runs

    return ((line, count * times) for line, times in inside(entry))


def _rounds(program: _Program, line: str) -> int:
    """How often a loop goes round: as the compiler notes, or from its first and last number."""
    if noted := re.search(r"known_trip_count[^\d]*(\d+)", line):
        return int(noted[1])
    condition = program.computations[re.search(r"condition=%?([\w.\-]+)", line)[1]]
    bounds = re.findall(r" constant\((\d+)\)", "\n".join(condition))
    counter = re.search(r"get-tuple-element\([^)]*\), index=(\d+)", "\n".join(condition))
    start = _start(program, line, int(counter[1])) if counter else None
    if len(bounds) != 1 or start is None or not any("direction=LT" in one for one in condition):
        raise ValueError(f"How often does the loop run, with collectives in it? {line.strip()[:200]}")
    return int(bounds[0]) - start


def _start(program: _Program, line: str, index: int) -> int | None:
    """The constant that a loop's carry holds at `index` when it begins."""
    carry = program.instructions[re.search(r" while\(%?([\w.\-]+)\)", line)[1]]
    operands = re.search(r" tuple\((.*?)\)", carry)
    name = re.findall(r"%([\w.\-]+)", operands[1])[index] if operands else None
    while name in program.instructions:
        source = program.instructions[name]
        if constant := re.search(r" constant\((\d+)\)", source):
            return int(constant[1])
        copied = re.search(r" (?:copy|bitcast|convert)\(%?([\w.\-]+)\)", source)
        name = copied[1] if copied else None
    return None


def _read(program: _Program, line: str, mesh: MeshShape) -> tuple[str, int, np.ndarray]:
    """(kind, bytes of the whole array, one group of devices)."""
    if sent := _SEND.search(line):
        between = np.arange(mesh.pod) * (mesh.data * mesh.model)
        (first, *_) = _ARRAY.findall(line)
        return sent[1].lower().replace("_", "-"), _bytes(first), between
    name = _COLLECTIVE.search(line)
    kind, asynchronous = name[1], bool(name[2])
    arrays = [_bytes(array) for array in _ARRAY.findall(line[: name.start()])]
    if kind == "collective-permute":
        pairs = re.search(r"source_target_pairs=\{\{([\d,]+)\}", line)
        pair = np.array(pairs[1].split(","), int) if pairs else np.zeros(1, int)
        return kind, arrays[0], pair
    group = _group(line, program.partitions)
    if kind == "all-gather" and asynchronous:
        arrays = arrays[len(arrays) // 2 :]  # after the operands, the results
    if kind == "reduce-scatter":
        return kind, sum(arrays) * len(group), group
    if kind == "all-reduce" and line.endswith(" scattered"):
        return "reduce-scatter", sum(arrays), group
    return kind, sum(arrays), group


def _bytes(array: tuple[str, str]) -> int:
    kind, shape = array
    bits = 8 if kind == "pred" else int(re.search(r"\d+", kind)[0])
    return math.prod(int(size) for size in shape.split(",") if size) * bits // 8


def _group(line: str, partitions: int) -> np.ndarray:
    """The first of the groups in any of XLA's four notations."""
    if groups := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return np.array(groups[1].split(","), int)
    if re.search(r"replica_groups=\{\}", line):
        return np.arange(partitions)
    iota = r"\[([\d,]+)\](?:T\(([\d,]+)\))?"
    if groups := re.search(rf"replica_groups=\[(\d+),(\d+)\]<={iota}", line):
        return _iota(groups[3], groups[4]).reshape(int(groups[1]), int(groups[2]))[0]
    if groups := re.search(
        rf"replica_groups=mesh\[([^\]]+)\](?:, device_ids=\({iota}\))? \{{([^}}]*)\}}", line
    ):
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", groups[1])}
        shape = list(sizes.values())
        ids = _iota(groups[2], groups[3]) if groups[2] else np.arange(math.prod(shape))
        taken = re.findall(r"'(\w+)'", groups[4])
        if ":" not in groups[4]:
            return ids.reshape(shape)[tuple(slice(None) if name in taken else 0 for name in sizes)].ravel()
    raise ValueError(f"Which devices take part in {line.strip()[:300]}?")


def _iota(shape: str, order: str | None) -> np.ndarray:
    """arange over `shape`, its axes then permuted by `order`."""
    sizes = [int(size) for size in shape.split(",")]
    ids = np.arange(math.prod(sizes)).reshape(sizes)
    return ids.transpose([int(axis) for axis in order.split(",")]).ravel() if order else ids.ravel()


def _axes(group: np.ndarray, mesh: MeshShape) -> tuple[str, ...]:
    """The mesh axes along which the devices of a group differ."""
    places = np.unravel_index(group, (mesh.pod, mesh.data, mesh.model))
    return tuple(name for name, place in zip(AXES, places) if len(set(place.tolist())) > 1)
