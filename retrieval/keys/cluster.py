"""Shards of keys made on a Ray cluster, by actors that each hold the encoder (Ray Data's batch inference).

Shards are the artifacts that `retrieval.keys.embed` makes on one machine, with the same locks and bytes:
machines may come and go, and a run resumes without a cluster.
"""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any

from errors import InputError
from processes.cluster import ray_cluster
from processes.workers import limit_threads
from retrieval.keys.shards import Job, Shards, open_shards


def embed_on_cluster(
    address: str, job: Job, numbers: Sequence[int], workers: int, progress: Callable[[int], object]
) -> None:
    """Makes the shards `numbers` of `job`.

    Args:
        address: as in processes.cluster.
        workers: actors, among which the cluster's cores are shared out evenly; each has a GPU where there are
            as many.

    Raises:
        InputError: Ray is not installed, there is no cluster, or an actor raised one.
    """
    with ray_cluster(address) as ray:
        from ray.data import ActorPoolStrategy, DataContext

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
