"""benchmarks/README.md shows what the committed results say; the statistics are what they claim."""

import json
import subprocess
import sys

import pytest

from benchmarks.measures import MEASURES, exponent
from benchmarks.pairs import ROOT, speed_ratio
from benchmarks.run import Options, bench
from benchmarks.tables import FOLDER, committed, with_tables
from errors import InputError

README = (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_readme_shows_the_committed_results():
    assert with_tables(README, committed()) == README


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_has_its_results_and_its_section(name):
    assert f"<!-- {name} -->" in README
    result = committed()[name]
    assert result["benchmark"] == name and result["rows"] and result["raw"] and result["convention"]


def test_a_ratio_is_of_medians_and_its_spread_of_pairs():
    ratio = speed_ratio([1.0, 2.0, 3.0, 100.0, 1.0], [2.0, 4.0, 6.0, 200.0, 2.0])
    assert ratio == {"ratio": 2.0, "paired_low": 2.0, "paired_high": 2.0}


def test_exponent_of_a_power():
    assert exponent([1, 2, 4], [3.0, 24.0, 192.0]) == pytest.approx(3)


def test_a_worker_says_when_it_is_ready_and_times_every_burst():
    script = (
        "from benchmarks.worker import serve\n"
        "calls = []\n"
        "serve({'count': lambda to: (lambda: calls.append(1), {'to': to})})\n"
    )
    job = json.dumps({"job": "count", "to": 3})
    process = subprocess.run(
        [sys.executable, "-c", script, job],
        input="\n\n",
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    ready, *bursts = map(json.loads, process.stdout.splitlines())
    assert ready == {"ready": True, "to": 3}
    assert len(bursts) == 2 and all(burst["seconds"] >= 0 for burst in bursts)


def test_a_measure_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="--only speed: choose one of training-step"):
        bench(Options(only="speed"))
