"""A results file in which any one value is of another type is refused with the field's name, or makes its pages all
the same.
"""

import copy
import json
from pathlib import Path

import pytest

from errors import InputError
from reports.pages import pages
from reports.sections import section
from studies.results_file import read_results

COMMITTED = Path(__file__).parents[2] / "experiments/results"
WRONG = (None, "x", 7, [7], {}, True)
# Each how much of its places: all with -m exhaustive.
SOME = {"plan": 1, "parallelism": 1, "square": 7, "compare": 40}
# Of another model, None is right: what no model of the file is called is another matter than a type.
ABSENT = ("retrieval", "initialisation")
FILES = sorted(path.parent.name for path in COMMITTED.glob("*/results.json"))


def places(value, where=(), form=()):
    """One path to each kind of place in `value`, the first of a list standing for all."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*where, name)
            yield from places(inner, (*where, name))
    elif isinstance(value, list) and value:
        yield (*where, 0)
        yield from places(value[0], (*where, 0))


@pytest.mark.parametrize(
    ("name", "every"),
    [
        *SOME.items(),
        *(pytest.param(name, 1, marks=pytest.mark.exhaustive) for name in FILES if SOME.get(name) != 1),
    ],
)
def test_a_value_of_another_type_is_named_or_does_no_harm(name, every, tmp_path):
    whole = json.loads((COMMITTED / name / "results.json").read_text())
    path, refused, accepted = tmp_path / name / "results.json", 0, []
    path.parent.mkdir()
    for where in list(places(whole))[::every]:
        for wrong in WRONG:
            results = copy.deepcopy(whole)
            inner = results
            for step in where[:-1]:
                inner = inner[step]
            if type(inner[where[-1]]) is type(wrong) or (where[-1] in ABSENT and wrong is None):
                continue
            inner[where[-1]] = wrong
            path.write_text(json.dumps(results))
            try:
                read_results(path)
            except InputError as error:
                refused += 1
                assert str(path) in str(error)
                fields = [step for step in where if isinstance(step, str)]
                if not any(field in str(error) for field in fields[-2:]):
                    accepted.append(f"{where} = {wrong!r}: {error}")
                continue
            try:
                pages([section(path)])
            except InputError:
                pass
            except Exception as error:
                accepted.append(f"{'.'.join(map(str, where))} = {wrong!r}: {error!r}")
    assert not accepted, "\n".join(accepted)
    assert refused > 5
