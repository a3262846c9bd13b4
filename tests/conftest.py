"""Every test runs on eight virtual CPU devices and refuses silent rank promotion.

Tests compile hundreds of small programs and run each a few times, so the compiler is told not to polish them.
"""

import atexit
import gc
import os
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)

# The tests themselves are spread over the cores: threads of FAISS beside them would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A program is compiled once for all workers and for the commands that tests start, which inherit these.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")
os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(2**31))  # with a bound JAX takes a lock

import jax
import pytest
from hypothesis import settings

from storage.artifacts import artifact
from tests.experiments.smoke import ARGUMENTS, start_compare
from tests.many_processes import ends
from tests.memory import forget_programs_where_they_are_many, let_go_of_freed_memory

jax.config.update("jax_numpy_rank_promotion", "raise")

settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")

# Tracing makes objects by the million and few cycles: looked for at Python's pace they take a twentieth of the tests.
gc.freeze()
gc.set_threshold(20_000, 20, 20)


def pytest_runtest_teardown(item, nextitem):
    if nextitem is None or nextitem.path != item.path:
        let_go_of_freed_memory()
        forget_programs_where_they_are_many()


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, worker_id):
    """A folder with `out`, `artifacts` and `printed`, to be copied."""
    base = tmp_path_factory.getbasetemp()

    def build(folder):
        [(code, printed, complaints)] = ends([start_compare(folder / "out", folder / "artifacts")])
        assert code == 0, complaints
        (folder / "printed").write_text(printed)

    return artifact(base if worker_id == "master" else base.parent, "run", {"arguments": ARGUMENTS}, build)


@pytest.fixture(scope="module")
def run(finished_run, tmp_path_factory):
    """(folder, artifacts, stdout) of a finished smoke run, the file's own."""
    folder = tmp_path_factory.mktemp("compare") / "run"
    shutil.copytree(finished_run, folder)
    return folder / "out", folder / "artifacts", (folder / "printed").read_text()
