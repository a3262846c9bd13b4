"""The comparison at its smallest, as a person starts it."""

import subprocess

from tests.many_processes import ROOT, start

TINY_BERT = str(ROOT / "tests/models/bert/tiny")
# Four sequences, so that eight devices can share them: the smoke models have two heads.
EVALUATED = 8_000  # tokens; two processes of four devices each take longest for these
ARGUMENTS = [
    "--preset", "smoke", "--batch-size", "4", "--evaluation-tokens", str(EVALUATED), "--encoder", TINY_BERT,
]  # fmt: skip


def command_line(out, artifacts, *more) -> list:
    return ["-m", "experiments.compare", *ARGUMENTS, "--out", out, "--artifacts", artifacts, *more]


def start_compare(out, artifacts, *more) -> subprocess.Popen:
    """In one process, on one device."""
    return start(*command_line(out, artifacts, *more), JAX_NUM_CPU_DEVICES="1")
