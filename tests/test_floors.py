"""The house: a room imports from rooms on lower floors only, and no two files need each other (CONTRIBUTING)."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
# From the ground up; rooms of one floor do not know each other.
FLOORS = (
    {"errors", "progress"},
    {"storage", "processes"},
    {"models"},
    {"data", "parallelism", "command"},
    {"training", "retrieval"},
    {"evaluation", "planning"},
    {"judging"},
    {"studies"},
    {"reports"},
    {"benchmarks", "experiments"},
)
RETRIEVAL = (
    {"retrieval.chunks", "retrieval.index"}, {"retrieval.keys"}, {"retrieval.neighbours"}, {"retrieval.database"},
)  # fmt: skip
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FILES = [path for room in FLOOR for path in [*ROOT.glob(f"{room}.py"), *(ROOT / room).rglob("*.py")]]
MODULES = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in FILES}


def imported(path: Path) -> set[str]:
    """The project's modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names & MODULES.keys()


def room(module: str, depth: int = 1) -> str:
    return ".".join(module.split(".")[:depth])


def upward(floors: tuple[set[str], ...], depth: int) -> list[str]:
    """Imports from a room, named by `depth` parts of a module's name, into another of its own floor or above."""
    floor = {room: number for number, rooms in enumerate(floors) for room in rooms}
    return [
        f"{module} imports {other}"
        for module, path in MODULES.items()
        for other in imported(path)
        for here, there in [(room(module, depth), room(other, depth))]
        if here != there and {here, there} <= floor.keys() and floor[here] <= floor[there]
    ]


def test_every_room_stands_on_a_floor():
    there = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {p.stem for p in ROOT.glob("*.py")}
    assert there == FLOOR.keys()


def test_a_room_imports_from_lower_floors_only():
    assert not upward(FLOORS, depth=1)


def test_retrievals_rooms_stand_one_above_the_other():
    rooms = {room(module, 2) for module in MODULES if room(module) == "retrieval"}
    assert rooms == {"retrieval.__init__"}.union(*RETRIEVAL)
    assert not upward(RETRIEVAL, depth=2)


def test_no_files_import_each_other():
    TopologicalSorter({module: imported(path) for module, path in MODULES.items()}).prepare()
