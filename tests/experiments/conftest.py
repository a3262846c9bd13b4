"""One smoke run of the comparison, made once for all test files that read it."""

import shutil

import pytest

from storage.artifacts import artifact
from tests.experiments.smoke import ARGUMENTS, start_compare
from tests.many_processes import ends


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
