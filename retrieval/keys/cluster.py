"""Shards of keys made on a Ray cluster, by actors that each hold the encoder (Ray Data's batch inference).

The folders of a job and the checkout are on a file system that all machines see under the same path. Shards
are the artifacts that `retrieval.keys.embed` makes on one machine, with the same locks and bytes: machines
may come and go, and a run resumes without a cluster. Ray is an extra of pyproject.toml.
"""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from errors import InputError
from processes.team import last_words
from processes.workers import limit_threads
from retrieval.keys.shards import Job, Shards, open_shards

RESUME = "The shards that were finished are kept: run the same command again, with a cluster or without."
CHECKOUT = str(Path(__file__).resolve().parents[2])


def embed_on_cluster(
    address: str, job: Job, numbers: Sequence[int], workers: int, progress: Callable[[int], object]
) -> None:
    """Makes the shards `numbers` of `job`.

    Args:
        address: HOST:PORT of a running cluster's head, "auto" on one of its machines, or "local", which
            starts a cluster of this machine alone.
        workers: actors, among which the cluster's cores are shared out evenly; each has a GPU where there are
            as many.

    Raises:
        InputError: Ray is not installed, there is no cluster, or an actor raised one.
    """
    try:
        import ray
        from ray import exceptions
        from ray.data import ActorPoolStrategy, DataContext
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
    # Where Ray's process of this machine dies, Ray ends this one from native code that nothing can precede.
    stay_silent = last_words(
        f"error: This command was killed, or Ray ended it because its cluster {address!r} is lost. {RESUME}"
    )
    try:
        DataContext.get_current().enable_progress_bars = False
        # Prints the traceback of what is raised, as if a machine that is lost were a fault of Ray's.
        logging.getLogger("ray.data.exceptions").setLevel(logging.CRITICAL)
        there = ray.cluster_resources()
        # An actor lives on one machine.
        smallest = min(node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"])
        cpus = max(1, min(int(there.get("CPU", 1)) // workers, int(smallest)))
        rows = ray.data.from_items(
            [{"shard": number} for number in numbers], override_num_blocks=len(numbers)
        ).map_batches(
            ShardMaker,
            fn_constructor_args=(dataclasses.asdict(job), cpus),
            batch_size=1,
            compute=ActorPoolStrategy(size=min(workers, len(numbers))),
            num_cpus=cpus,
            num_gpus=1 if there.get("GPU", 0) >= workers else 0,
        )
        for row in rows.iter_rows():
            if row["problem"]:
                raise InputError(f"An actor of the cluster could not continue: {row['problem']}")
            progress(int(row["chunks"]))
    except (
        exceptions.RayActorError, exceptions.WorkerCrashedError, exceptions.NodeDiedError,
        exceptions.ObjectLostError, exceptions.RaySystemError,
    ) as error:  # fmt: skip
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"The cluster at {address!r} lost an actor or a machine ({reason}). {RESUME}"
        ) from error
    finally:
        ray.shutdown()
        stay_silent()


class ShardMaker:
    """What an actor holds: the encoder, opened once. Bad input is an answer: what an actor raises, Ray tries
    again, and buries.
    """

    def __init__(self, job: dict[str, Any], cpus: int):
        limit_threads(cpus)
        self._job = Job(**job)
        self._shards: Shards | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """{"shard": [1]} -> {"chunks": [1], "problem": [1]}, the latter "" where the shard is made."""
        number = int(batch["shard"][0])
        try:
            self._shards = self._shards or open_shards(self._job)
            self._shards.make(number)
            return {"chunks": [len(self._shards.chunks(number))], "problem": [""]}
        except InputError as error:
            return {"chunks": [0], "problem": [str(error)]}
