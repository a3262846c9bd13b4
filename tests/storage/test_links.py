"""A link in a folder of somebody else's leads anywhere: nothing is read through one, and nothing written."""

import json

import numpy as np
import pytest

from errors import InputError
from retrieval.database.version import CURRENT, read_version
from retrieval.index.index import load_index
from storage.arrays import read_array
from storage.files import no_link
from storage.json_files import read_json
from storage.sealed import load_array, save_array
from studies.prepare import FILE_NAME, reopen
from studies.trials.trained import read_trial
from training.metrics import MetricsWriter, read_metrics


@pytest.fixture
def elsewhere(tmp_path):
    """A file outside of the folder, which stays as it is."""
    path = tmp_path / "elsewhere.json"
    path.write_text(json.dumps({"secret": 1}))
    yield path
    assert path.read_text() == '{"secret": 1}'


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


READERS = {
    CURRENT: read_version,
    "config.json": read_trial,
    FILE_NAME: reopen,
    "metrics.jsonl": read_metrics,
    "index.faiss": load_index,
    "evaluation-on.npy": lambda folder: load_array(folder / "evaluation-on.npy"),
}


@pytest.mark.parametrize("name", READERS)
def test_what_a_folder_holds_is_no_link_out_of_it(name, folder, elsewhere):
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(InputError, match=f"{name}.*it is a link: put the file itself in its place"):
        READERS[name](folder)


@pytest.mark.parametrize("read", [read_json, read_array, no_link])
def test_links_are_told_from_files_that_are_missing(read, folder, elsewhere):
    (folder / "file").symlink_to(elsewhere)
    with pytest.raises(OSError, match="it is a link"):
        read(folder / "file")
    with pytest.raises(FileNotFoundError):
        read(folder / "none")
    assert read_json(elsewhere) == {"secret": 1}
    assert read_json(folder / "file", linked=True) == {"secret": 1}


def test_metrics_are_not_appended_to_a_file_elsewhere(folder, elsewhere):
    (folder / "metrics.jsonl").symlink_to(elsewhere)
    with pytest.raises((InputError, OSError)):
        MetricsWriter(folder)
    (folder / "metrics.jsonl").unlink()
    (folder / "metrics.jsonl").symlink_to(folder / "none yet")
    with pytest.raises(OSError, match="symbolic links"):
        MetricsWriter(folder)


def test_an_array_is_not_written_through_a_link(folder, elsewhere):
    (folder / "evaluation-on.partial").symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic links"):
        save_array(folder / "evaluation-on.npy", np.zeros(3))
