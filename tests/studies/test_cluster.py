"""A Ray cluster trains the cells of a study to the bytes of one machine, also where a worker of it is killed."""

import contextlib
import importlib.util
import threading
import time

import psutil
import pytest

from models.families import configuration
from studies.rows import Row
from studies.study import StudyOptions, run_study
from tests.experiments.smoke import TINY_BERT
from tests.many_processes import SECONDS
from training.metrics import read_metrics

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None,
        reason="Ray, an extra, is not installed: pip install '.[ray]'",
    ),
    pytest.mark.exhaustive,  # eight processes that import everything: minutes
]
SMOKE = configuration("gopher/smoke")
ROWS = [
    Row("published", "Form", None, config=SMOKE),
    Row("lower peak", "Form", "published", config=SMOKE, training={"peak": 1e-3}),
]


def study(folder, cells, **fields):
    options = StudyOptions(
        preset="smoke", corpus="stdlib", encoder=TINY_BERT, held_out="document", seeds=2, steps=6,
        artifacts=folder / "artifacts", cells=folder / cells, **fields,
    )  # fmt: skip
    return run_study("ablate gopher", options, ROWS, folder / f"table-{cells}")


def bytes_of(folder, cells):
    """What every cell's evaluation and losses are."""
    found = {}
    for path in sorted((folder / cells).glob("gopher-*/evaluation-dense.npy")):
        losses = [line["loss"] for line in read_metrics(path.parent)]
        found[path.parent.name] = path.read_bytes(), losses
    return found


def kill_one(folder, killed):
    """The first worker of the cluster that has begun a cell."""
    deadline = time.monotonic() + SECONDS
    while not killed and time.monotonic() < deadline:
        if list(folder.glob("gopher-*/log.txt")):
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if "ray::" in " ".join(process.cmdline()) and process.children():
                        killed.append(process.pid)
                        process.kill()
                        return
        time.sleep(0.05)


def test_two_workers_of_a_cluster_give_the_bytes_of_one_machine_though_one_is_killed(tmp_path):
    folder = tmp_path
    study(folder, "one", workers=1)
    killed = []
    watch = threading.Thread(target=kill_one, args=(folder / "many", killed), daemon=True)
    watch.start()
    study(folder, "many", cluster="local")
    watch.join()
    assert killed, "no worker was killed, so nothing was shown"
    one, many = bytes_of(folder, "one"), bytes_of(folder, "many")
    assert len(one) == 4 and one == many
