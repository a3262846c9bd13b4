"""One writer and one reader: what is written is read, and a command can be pasted. Studies: test_verdicts."""

import json
import shlex
from pathlib import Path

import pytest

from errors import InputError
from studies.results_file import LAYOUT, is_study, read_results, write_results

COMMITTED = Path(__file__).parents[2] / "experiments/results"


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "out" / "results.json"
    results = write_results(path, "sizes", {"config": {"out": Path("a")}, "rows": [1.5]}, corpus_hash="0f")
    assert {"experiment": "sizes", "layout": LAYOUT, "rows": [1.5]}.items() <= results.items()
    assert results["environment"]["corpus_hash"] == "0f" and "commit" in results["environment"]
    assert read_results(path) == results | {"config": {"out": "a"}}


def test_the_command_can_be_pasted(tmp_path, monkeypatch):
    arguments = ["palm", "--rows", "no z-loss", "--corpus", "notes/*.md"]
    monkeypatch.setattr("sys.argv", ["ablate.py", *arguments])
    command = write_results(tmp_path / "results.json", "ablate palm", {})["command"]
    assert shlex.split(command) == ["python", "-m", "experiments.ablate", *arguments]


@pytest.mark.parametrize("lost", ["command", "environment"])
def test_a_lost_head_is_named(tmp_path, lost):
    path = tmp_path / "results.json"
    results = write_results(path, "plan", {"rows": []})
    path.write_text(json.dumps({name: value for name, value in results.items() if name != lost}))
    with pytest.raises(InputError, match=f"{lost} is missing.*experiments.plan"):
        read_results(path)


def test_what_is_no_value_of_json_is_not_written(tmp_path):
    with pytest.raises(TypeError, match="complex has no place"):
        write_results(tmp_path / "results.json", "plan", {"rows": [1j]})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", sorted(COMMITTED.glob("*/*.json")), ids=lambda path: path.parent.name)
def test_committed_files_are_read(path):
    assert is_study(read_results(path)) == ("null" in read_results(path))
