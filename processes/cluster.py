"""A Ray cluster, as work on it begins and ends. Ray is an extra of pyproject.toml.

The checkout and all folders of a run are on a file system that every machine sees under the same path.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from errors import InputError
from processes.team import last_words

CHECKOUT = str(Path(__file__).resolve().parents[1])


@contextmanager
def ray_cluster(address: str) -> Iterator[Any]:
    """The module `ray`, joined to a cluster.

    address: HOST:PORT of a running cluster's head, "auto" on one of its machines, or "local", which starts a
    cluster of this machine alone.

    Raises:
        InputError: Ray is not installed, there is no cluster, or it is lost on the way.
    """
    try:
        import ray
        from ray import exceptions
    except ImportError as error:
        raise InputError(
            f"A cluster is reached through Ray, which is not installed ({error}). Install it with "
            "`pip install 'ray[data]==2.60.0'`, or leave the cluster's address out: workers of this "
            "machine use its cores."
        ) from error
    resume = "What was finished is kept: run the same command again, with a cluster or without."
    try:
        ray.init(address=address, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": CHECKOUT}})
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"There is no Ray cluster at {address!r} ({error}). Start one with `ray start --head`, or give "
            "'local' for this machine alone."
        ) from error
    # Where Ray's process of this machine dies, Ray ends this one from native code that nothing can precede.
    stay_silent = last_words(
        f"error: This command was killed, or Ray ended it because its cluster {address!r} is lost. {resume}"
    )
    try:
        yield ray
    except (
        exceptions.RayActorError, exceptions.WorkerCrashedError, exceptions.NodeDiedError,
        exceptions.ObjectLostError, exceptions.RaySystemError,
    ) as error:  # fmt: skip
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"The cluster at {address!r} lost a worker or a machine ({reason}). {resume}"
        ) from error
    finally:
        ray.shutdown()
        stay_silent()
