"""One script per question a person asks: `python -m experiments.NAME --help`."""

import ctypes
import os

# Read when JAX first touches a device. On two AVX-512 cores a training step takes an eighth less time;
# elsewhere it does nothing.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_prefer_vector_width=512")


def _keep_freed_memory() -> None:
    """Asks glibc to keep what a step frees for the next step.

    A step's temporaries are one large allocation. By default it goes back to the kernel after every step, and
    getting its pages anew takes a tenth of the time of a step on a CPU. Elsewhere than on glibc: nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        arena_max, mmap_max, trim_threshold = -8, -4, -1  # malloc.h
        mallopt(arena_max, 1)
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, -1)  # never


_keep_freed_memory()
