"""A process that is measured: started once, warmed up, then idle until it is asked for one burst.

It speaks lines of JSON: one when it is ready, then for every line it reads one with the seconds of a burst.
Only the standard library is imported here, since peers run in an environment of their own.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

# (burst, facts): burst() does the work once and waits for it; facts are reported as the worker starts.
Job = tuple[Callable[[], Any], Mapping[str, Any]]


def serve(jobs: Mapping[str, Callable[..., Job]]) -> None:
    """Runs the job that the command line describes: {"job": name, and the arguments of its function}."""
    arguments = json.loads(sys.argv[1])
    burst, facts = jobs[arguments.pop("job")](**arguments)
    for _ in range(2):  # compiles, and fills the allocator's pools
        burst()
    _say({"ready": True, **facts})
    for _ in sys.stdin:
        start = time.perf_counter()
        burst()
        _say({"seconds": time.perf_counter() - start})


def _say(message: Mapping[str, Any]) -> None:
    print(json.dumps(message), flush=True)
