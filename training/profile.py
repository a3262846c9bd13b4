"""A trace of some steps, which XProf and Perfetto open: `xprof FOLDER`, or ui.perfetto.dev."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

FOLDER = "profile"


@contextmanager
def traced(folder: Path, steps: range | None) -> Iterator[Callable[[int, Any], None]]:
    """Traces `steps` into `folder`/profile; None traces nothing.

    Yields:
        What the loop calls before every step: (updates made so far, what the last one left). That is waited
        for at both ends, so that the trace holds these steps whole.
    """
    running = False

    def before(step: int, state: Any) -> None:
        nonlocal running
        if steps is None or step not in (steps.start, steps.stop):
            return
        jax.block_until_ready(state)
        if running:
            jax.profiler.stop_trace()
        elif step == steps.start:
            jax.profiler.start_trace(str(folder / FOLDER), create_perfetto_trace=True)
        running = step == steps.start

    try:
        yield before
    finally:
        if running:
            jax.profiler.stop_trace()
