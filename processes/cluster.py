"""A Ray cluster, as work on it begins and ends. Ray is an extra of pyproject.toml.

The checkout and all folders of a run are on a file system that every machine sees under the same path.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from errors import InputError

CHECKOUT = str(Path(__file__).resolve().parents[1])


@contextmanager
def ray_cluster(address: str) -> Iterator[Any]:
    """The module `ray`, joined to a cluster.

    address: HOST:PORT of a running cluster's head, "auto" on one of its machines, or "local", which starts a
    cluster of this machine alone.

    Raises:
        InputError: Ray is not installed, or there is no cluster.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError(
            f"A cluster is reached through Ray, which is not installed ({error}). Install it with "
            "`pip install 'ray[data]==2.60.0'`, or leave the cluster's address out: workers of this "
            "machine use its cores."
        ) from error
    try:
        ray.init(address=address, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": CHECKOUT}})
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"There is no Ray cluster at {address!r} ({error}). Start one with `ray start --head`, or give "
            "'local' for this machine alone."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()
