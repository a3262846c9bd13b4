"""How much does the project live through?

python -m tests.chaos                      ten minutes of everything
python -m tests.chaos --minutes 60 --seed 7
python -m tests.chaos --only kills damage
"""

import contextlib
import dataclasses
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)

import numpy as np
import tyro

from tests.chaos.cases import Case, table
from tests.chaos.jobs import COMPILED, JOBS
from tests.chaos.record import RECORD, records, summary
from tests.chaos.rounds import ROUNDS, Ground


@dataclass(frozen=True)
class Options:
    """How long, and which."""

    minutes: float = 10.0
    """How long; a round that has begun is ended."""
    seed: int = 0
    """What is tried follows from it, but for what the clock of the machine decides."""
    only: tuple[str, ...] = ()
    """Kinds, of those that the table names. Default: all, by turns."""
    jobs: tuple[str, ...] = ()
    """Commands, by their names in tests/chaos/jobs.py. Default: all, mostly those that take seconds."""
    out: Path = Path("runs/chaos")
    """Folder for cases.json."""
    record: bool = False
    """Whether the counts are added to tests/chaos/record.json, which docs/reliability.md shows."""


def main(options: Options) -> int:
    """Prints the table; 1 where a case is bad. Ctrl-C ends it with what was tried."""
    cases: list[Case] = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as root:
        os.environ[COMPILED] = str(Path(root) / "compiled")
        with contextlib.suppress(KeyboardInterrupt):
            for case in _cases(options, Path(root)):
                cases.append(case)
                if case.bad:
                    print(f"{case.outcome}: {case.kind}, {case.what}\n{case.said[-2000:]}", file=sys.stderr)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "cases.json").write_text(
        json.dumps({"seed": options.seed, "cases": [dataclasses.asdict(case) for case in cases]}, indent=1)
    )
    if options.record:
        made = summary(shlex.join(word for word in sys.argv[1:] if word != "--record"), options.seed, cases)
        RECORD.write_text(json.dumps([*records(), made], indent=1) + "\n")
    print(table(cases))
    print(f"\nseed {options.seed}, {options.out / 'cases.json'}")
    return int(any(case.bad for case in cases))


def _cases(options: Options, root: Path) -> Iterator[Case]:
    if unknown := [name for name in options.jobs if name not in {job.name for job in JOBS}]:
        raise SystemExit(f"There is no job {unknown[0]!r} here. Jobs: {', '.join(job.name for job in JOBS)}.")
    ground = Ground(root, options.jobs)
    if unknown := [name for name in options.only if name not in ROUNDS]:
        raise SystemExit(f"There is no kind {unknown[0]!r} here. Kinds: {', '.join(ROUNDS)}.")
    deadline = time.monotonic() + 60 * options.minutes
    turns = [name for name in ROUNDS if not options.only or name in options.only]
    number = 0
    while time.monotonic() < deadline:
        name = turns[number % len(turns)]
        random = np.random.default_rng([options.seed, number])
        started, found = time.monotonic(), list(ground.watched(ROUNDS[name](ground, random, number)))
        print(
            f"round {number}, {name}: {len(found)} cases, {time.monotonic() - started:.0f} s", file=sys.stderr
        )
        yield from found
        number += 1


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Options)))
