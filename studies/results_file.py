"""The results file of every experiment: its one writer and its one reader.

Every file has the head HEAD. Those of studies (`ablate`, `scaling` and their kin) are checked to the last
number; older ones lack the group of a document, the interaction of a row and the draws of a trial, and
`judging` says what can be said without. A file that does not keep to the layout is refused with its name, the
row or field, and the way out: a table made of half a file would be believed.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from command import command_line
from errors import InputError
from storage.json_files import check, read_json
from storage.sealed import opened, write_sealed
from studies import results_forms
from studies.environment import environment

LAYOUT = 1
OTHER_KINDS = (
    "compare",
    "generate",
    "parallelism",
    "plan",
    "retrofit",
    "sizes",
    "train",
)  # all others are studies
STATES = ("finished", "diverged", "failed")
EXPECTED = ("worse", "better", "equal", None)


def write_results(path: Path, experiment: str, content: Mapping[str, Any], **facts: Any) -> dict[str, Any]:
    """Writes `content` under the head of every results file, whole or not at all, and returns both together.

    Args:
      experiment: the command's name, with its table where there are several: "ablate palm".
      facts: of the environment, beside what `studies.environment` says: corpus_hash, workers.
    """
    results = {
        "experiment": experiment,
        "layout": LAYOUT,
        "command": command_line(f"experiments.{experiment.split()[0]}"),
        "environment": environment() | facts,
        **content,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    written = json.loads(json.dumps(results, default=_as_json))
    write_sealed(path, written)
    return written


def _as_json(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a results file")


def read_results(path: Path) -> dict[str, Any]:
    """The content of a results file, whole and of this layout. The head of files that are of no study and
    name no layout, older than this writer, is their experiment and environment.

    Raises:
        InputError: the file is missing, cut short, of another layout, or does not fit together; the message
            names the file, the row and the way out.
    """
    results = _json_of(path := Path(path))
    try:
        _check(results)
    except _Misfit as misfit:
        raise InputError(f"{path}: {misfit}. {_way_out(results)}") from None
    return results


def is_study(results: Mapping) -> bool:
    """Whether these are rows of trials that `judging.verdicts` judges."""
    return results["experiment"] not in OTHER_KINDS


def _json_of(path: Path) -> dict[str, Any]:
    try:
        results = read_json(path, linked=True)
        if isinstance(results, dict):
            results = opened(results)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}). Give a results.json that an experiment wrote, such "
            "as python -m experiments.ablate palm."
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path} is cut short or damaged ({error}). Run the command that wrote it again: what is "
            "finished is not run again, and the file is written anew."
        ) from error
    if not isinstance(results, dict) or not isinstance(results.get("experiment"), str):
        raise InputError(f"{path} holds no results of an experiment: give the results.json of one.")
    return results


class _Misfit(Exception):
    """What is wrong, in words."""


def _way_out(results: Mapping) -> str:
    command = results.get("command")
    if not isinstance(command, str):
        command = f"python -m experiments.{results['experiment']}"
    return f"Run `{command}` again: what is finished is not run again, and the file is written anew."


def _check(results: Mapping) -> None:
    study = is_study(results)
    if ("layout" in results or study) and results.get("layout") != LAYOUT:
        there = f"layout {results['layout']!r}" if "layout" in results else "an older layout"
        raise _Misfit(f"this is {there} where layout {LAYOUT} is read")
    kind = results_forms.STUDY if study else results_forms.OF.get(results["experiment"], {})
    try:
        check(results, results_forms.HEAD if "layout" in results else results_forms.OLDER_HEAD)
        check(results, kind)
    except ValueError as error:
        raise _Misfit(str(error)) from None
    if study:
        _check_study(results)


def _check_study(results: Mapping) -> None:
    documents, rows = results["documents"], results["rows"]
    if not rows or not documents:
        raise _Misfit(f"there are {len(rows)} rows and {len(documents)} documents")
    for number, document in enumerate(documents):
        if not document["bytes"] > 0:
            raise _Misfit(f"document {number} ({document['source']}) has {document['bytes']} bytes")
    names = [row["name"] for row in rows]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _Misfit(f"two rows are named {twice[0]!r}")
    for row in rows:
        _check_row(row, names, len(documents))
    if results["null"] is not None:
        _check_null(results["null"], rows, len(documents))


def _check_row(row: Mapping, names: Sequence[str], num_documents: int) -> None:
    of = f"row {row['name']!r}"
    if row["against"] is not None and (row["against"] not in names or row["against"] == row["name"]):
        known = ", ".join(name for name in names if name != row["name"])
        raise _Misfit(f"{of} is against {row['against']!r}, which is no other row; there are {known}")
    if row.get("interaction") not in (None, *names):
        raise _Misfit(f"{of} is judged beyond {row['interaction']!r}, which is no row")
    if row["paper"] is not None:
        if row["paper"]["expects"] not in EXPECTED:
            raise _Misfit(
                f"{of} has paper.expects {row['paper']['expects']!r}, which is none of "
                f"{', '.join(map(str, EXPECTED))}"
            )
    _check_trials(row["cells"], of, num_documents)


def _check_null(null: Mapping, rows: Sequence[Mapping], num_documents: int) -> None:
    named = [row for row in rows if row["name"] == null["of"]]
    if not named:
        raise _Misfit(f"null is of {null['of']!r}, which is no row")
    _check_trials(null["cells"], "null", num_documents)
    if shared := {trial["seed"] for trial in null["cells"]} & {trial["seed"] for trial in named[0]["cells"]}:
        raise _Misfit(f"null has seed {min(shared)} in common with row {null['of']!r}")


def _check_trials(trials: Sequence[Mapping], of: str, num_documents: int) -> None:
    for trial in trials:
        here = f"seed {trial['seed']} of {of}"
        if trial["status"] not in STATES:
            raise _Misfit(f"{here} has status {trial['status']!r}, which is none of {', '.join(STATES)}")
        if trial["status"] == "finished" and trial["nats"] is None:
            raise _Misfit(f"{here} is finished and has no nats")
        for evaluation in ("nats", "nats_off"):
            _check_nats(trial[evaluation], f"{evaluation} of {here}", num_documents)
        for draw, nats in enumerate(trial.get("draws") or ()):
            _check_nats(nats, f"draw {draw} of {here}", num_documents)
    seeds = [trial["seed"] for trial in trials]
    if len(set(seeds)) < len(seeds):
        raise _Misfit(f"{of} has a seed twice: {', '.join(map(str, seeds))}")
    finished = [trial for trial in trials if trial["status"] == "finished"]
    if len({trial["nats_off"] is None for trial in finished}) > 1:
        raise _Misfit(f"{of} has nats_off for some seeds and not for others")
    if len({len(trial.get("draws") or ()) for trial in finished}) > 1:
        raise _Misfit(f"{of} has more draws for some seeds than for others")


def _check_nats(nats: Sequence[float] | None, of: str, num_documents: int) -> None:
    if nats is None:
        return
    if len(nats) != num_documents:
        raise _Misfit(f"{of} are {len(nats)} numbers for {num_documents} documents")
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in nats):
        raise _Misfit(f"{of} are not all finite numbers")
