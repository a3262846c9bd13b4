"""What a worker that runs tests holds, and how it gives that back."""

import ctypes
import gc
import os

import jax
import psutil

MUCH = 3 * 2**29  # bytes of a worker; four of them fit into the 8 GB of a small machine


def let_go_of_freed_memory() -> None:
    """Undoes `processes.host.keep_freed_memory`, which commands ask for in this process too: one training run
    lives in a process of its own, and here the largest of all would be kept to the end.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mmap_max, trim_threshold = -4, -1  # malloc.h; glibc's own values
        mallopt(mmap_max, 65536)
        mallopt(trim_threshold, 128 * 1024)
        ctypes.CDLL(None).malloc_trim(0)


def forget_programs_where_they_are_many() -> None:
    """Compiled programs pile up over a worker's life; those that come again are in the cache on disk."""
    if psutil.Process().memory_info().rss > MUCH:
        jax.clear_caches()
        gc.collect()
        let_go_of_freed_memory()
