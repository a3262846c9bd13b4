"""Stopping between two steps: Ctrl-C and a scheduler's SIGTERM become a question that the loop asks."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Within this context the first SIGINT or SIGTERM only makes the yielded function answer True.

    A second one acts as it always does, for whoever cannot wait for the step in flight.
    """
    asked = []
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore():
        for number, handler in previous.items():
            signal.signal(number, handler)

    def ask(number, frame):
        asked.append(number)
        restore()

    for number in previous:
        signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        restore()
