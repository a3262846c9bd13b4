"""Where a result was made: versions, device, commit, and how fast that can be."""

import os
import platform
import resource
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp

from processes.start import from_leader, num_machines

PEAK_CONVENTION = (
    "MFU = tokens/s x model FLOPs per token (6N + 12LHKT, PaLM appendix B; retrieval included, neither "
    "recomputation nor the gradients that a frozen decoder does not take; the projection of relative "
    "distances once per batch, where the papers count it for every token) / this machine's measured float32 "
    "matrix-product rate"
)
LIBRARIES = ("jax", "jaxlib", "dm-haiku", "optax", "numpy", "faiss-cpu", "sentencepiece", "orbax-checkpoint")


def environment() -> dict:
    """What `results.json` says about the machine and the code."""
    return {
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        # None: the device's own, which on a GPU is TF32 for products of float32.
        "matmul_precision": jax.config.jax_default_matmul_precision,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "commit": _commit(),
        "date": date.today().isoformat(),
    }


def peak_facts(peak: float) -> dict:
    """What `results.json` says of the `peak_flops` that MFU is a share of."""
    return {"flops_per_second": peak, "convention": PEAK_CONVENTION}


def peak_flops() -> float:
    """What the run's devices reach together in FLOP/s, by the measured float32 matrix products of one in the
    leader. Devices that are CPUs share their machine's cores.
    """
    alike = num_machines() if jax.default_backend() == "cpu" else jax.device_count()
    return from_leader(matrix_product_peak) * alike


def peak_memory() -> int:
    """Bytes that this process has held at most, libraries included."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would also count what a parent held when it started this process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _commit() -> str:
    """The commit of this checkout, marked when the working tree differs from it; "unknown" outside git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return described.stdout.strip()


def matrix_product_peak(size: int = 2048, repeats: int = 7) -> float:
    """The machine's measured rate in FLOP/s: the best of `repeats` float32 products of size × size
    matrices.
    """
    matrix = jax.random.normal(jax.random.key(0), (size, size), jnp.float32)
    product = jax.jit(jnp.matmul)
    product(matrix, matrix).block_until_ready()

    def seconds():
        start = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        return time.perf_counter() - start

    return 2 * size**3 / min(seconds() for _ in range(repeats))
