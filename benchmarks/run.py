"""Measures speed and memory beside peers: `make bench`, or `make bench ARGS="--only decoding"`."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measures import MEASURES
from benchmarks.pairs import PEERS_PYTHON
from benchmarks.tables import FOLDER, committed, markdown, with_tables
from command import command, command_line
from errors import InputError
from storage.files import write_atomic
from studies.environment import environment


@dataclass(frozen=True)
class Options:
    """What may be chosen."""

    only: str | None = None
    """One measure alone: training-step, retro-step, matrix-product-fraction, memory, decoding or
    embedding."""
    repeats: int = 9
    """Bursts of every worker, in turns; medians are taken."""
    out: Path = FOLDER / "results"
    """Folder of the raw results, one file each. The default is what benchmarks/README.md shows."""


def bench(options: Options) -> None:
    """Runs the measures and writes a JSON file each."""
    if options.only is not None and options.only not in MEASURES:
        raise InputError(f"--only {options.only}: choose one of {', '.join(MEASURES)}.")
    if options.repeats < 2:
        raise InputError(f"--repeats {options.repeats}: a spread needs at least 2.")
    if not PEERS_PYTHON.exists():
        raise InputError(f"{PEERS_PYTHON} is missing: the peers run there. `make bench` creates it.")
    names = [options.only] if options.only else list(MEASURES)
    tables = []
    for name in names:
        print(f"{name}: {MEASURES[name].__doc__.splitlines()[0]}", flush=True)
        load = os.getloadavg()[0]
        result = {
            "benchmark": name,
            "command": command_line("benchmarks.run"),
            "environment": environment(),
            "load": load,
            **MEASURES[name](options.repeats),
        }
        options.out.mkdir(parents=True, exist_ok=True)
        write_atomic(options.out / f"{name}.json", json.dumps(result, indent=1))
        tables.append(f"\n{name}\n\n{markdown(result)}")
    print("\n".join(tables))
    if options.out == Options.out:
        readme = FOLDER / "README.md"
        write_atomic(readme, with_tables(readme.read_text(encoding="utf-8"), committed()))


if __name__ == "__main__":
    command(bench, Options, "Measure speed and memory, ours and the peers' in turns.")
