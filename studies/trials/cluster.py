"""The trials of a study as tasks of a Ray cluster, each in a process of its own on one core or one GPU.

They are the same trials in the same folders as those that studies.trials.grid trains on one machine. A
machine that is lost costs its trials what they did since their last checkpoint: Ray starts them again
elsewhere.
"""

import multiprocessing
from collections.abc import Sequence
from pathlib import Path

from processes import host
from processes.cluster import ray_cluster
from studies.trials.grid import (
    COMPILED,
    POLL_SECONDS,
    TrialsProgress,
    fails,
    to_be_done,
    work_with_parent,
)
from studies.trials.worker import Task


def run_on_cluster(tasks: Sequence[Task], address: str, peak: float, trials: Path) -> None:
    """Runs what is not finished of `tasks`, as many at a time as the cluster has cores, or GPUs.

    Args:
      address: as in processes.cluster. peak: of one worker in FLOP/s.

    Raises:
      InputError: there is no Ray, or no cluster.
    """
    todo = to_be_done(tasks)
    if not todo:
        return
    with ray_cluster(address) as ray:
        on_gpu = ray.cluster_resources().get("GPU", 0) > 0
        remote = ray.remote(
            num_cpus=0 if on_gpu else 1, num_gpus=1 if on_gpu else 0, max_retries=-1, max_calls=1
        )(trained)
        progress = TrialsProgress(len(todo))
        waiting = {remote.remote(task, peak, trials / COMPILED): (task, 1) for task in todo}
        while waiting:
            progress.show([task for task, _ in waiting.values()])
            ended, _ = ray.wait(list(waiting), timeout=POLL_SECONDS)
            for one in ended:
                task, attempt = waiting.pop(one)
                if fails(task, ray.get(one), attempt):
                    waiting[remote.remote(task, peak, trials / COMPILED)] = task, attempt + 1
                else:
                    progress.one_more()
        progress.close()


def trained(task: Task, peak: float, compiled: Path) -> int | None:
    """Exit code of the process that trains `task`; it ends with this one, the task of the cluster."""
    host.keep_freed_memory_in_children()
    process = multiprocessing.get_context("spawn").Process(
        target=work_with_parent, args=(task, peak, None, compiled)
    )
    process.start()
    process.join()
    return process.exitcode
