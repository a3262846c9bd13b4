"""The layout of the results files of `ablate`, `scaling` and their kin, and whether a file keeps to it.

A file that does not is refused with its name, the row or field, and the way out: a table made of half a file
would be believed.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from errors import InputError

LAYOUT = 1
STATES = ("finished", "diverged", "failed")
EXPECTED = ("worse", "better", "equal", None)
TOP = (
    "experiment", "command", "config", "environment", "peak", "corpus", "documents", "rows", "null",
)  # fmt: skip
ROW = (
    "name", "group", "against", "change", "note", "paper", "facts", "parameters", "train_tokens",
    "train_flops", "cells",
)  # fmt: skip
CELL = (
    "seed", "cell", "status", "reason", "last_finite", "nats", "nats_off", "tokens_per_second", "mfu",
    "peak_bytes", "seconds",
)  # fmt: skip


def checked(path: Path) -> dict[str, Any]:
    """The content of `path`.

    Raises:
        InputError: as studies.results_file.read_results says.
    """
    results = json_of(path)
    again = _way_out(results)
    try:
        _check(results)
    except _Misfit as misfit:
        raise InputError(f"{path}: {misfit}. {again}") from None
    return results


def json_of(path: Path) -> dict[str, Any]:
    """A results file of any layout.

    Raises:
        InputError: the file is missing, cut short, or holds no results.
    """
    try:
        results = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}). Give a results.json that an experiment wrote, such "
            "as python -m experiments.ablate palm."
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path} is cut short or damaged ({error}). Run the command that wrote it again: finished trials "
            "are not run again, and the file is written anew."
        ) from error
    if not isinstance(results, dict) or "experiment" not in results:
        raise InputError(f"{path} holds no results of an experiment: give the results.json of one.")
    return results


class _Misfit(Exception):
    """What is wrong, in words."""


def _way_out(results: Mapping) -> str:
    command = results.get("command") or f"python -m experiments.{str(results['experiment']).split()[0]}"
    return f"Run `{command}` again: finished trials are not run again, and the file is written anew."


def _check(results: Mapping) -> None:
    if results.get("layout") != LAYOUT:
        there = f"layout {results['layout']!r}" if "layout" in results else "an older layout"
        raise _Misfit(f"this is {there} where layout {LAYOUT} is read")
    _has(results, TOP, "the file")
    _has(results["corpus"], ("near_duplicate_threshold",), "corpus")
    documents, rows = results["documents"], results["rows"]
    if not rows or not documents:
        raise _Misfit(f"there are {len(rows)} rows and {len(documents)} documents")
    for number, document in enumerate(documents):
        _has(document, ("source", "domain", "bytes", "shared_ngrams"), f"document {number}")
        if not document["bytes"] > 0:
            raise _Misfit(f"document {number} ({document['source']}) has {document['bytes']} bytes")
    for number, row in enumerate(rows):
        _has(row, ROW, f"row {number}")
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
    if row["paper"] is not None:
        _has(row["paper"], ("figure", "expects", "source"), f"the paper's claim of {of}")
        if row["paper"]["expects"] not in EXPECTED:
            raise _Misfit(
                f"{of} has paper.expects {row['paper']['expects']!r}, which is none of "
                f"{', '.join(map(str, EXPECTED))}"
            )
    _check_trials(row["cells"], of, num_documents)


def _check_null(null: Mapping, rows: Sequence[Mapping], num_documents: int) -> None:
    _has(null, ("of", "cells"), "null")
    named = [row for row in rows if row["name"] == null["of"]]
    if not named:
        raise _Misfit(f"null is of {null['of']!r}, which is no row")
    _check_trials(null["cells"], "null", num_documents)
    if shared := {trial["seed"] for trial in null["cells"]} & {trial["seed"] for trial in named[0]["cells"]}:
        raise _Misfit(f"null has seed {min(shared)} in common with row {null['of']!r}")


def _check_trials(trials: Sequence[Mapping], of: str, num_documents: int) -> None:
    for number, trial in enumerate(trials):
        _has(trial, CELL, f"trial {number} of {of}")
        here = f"seed {trial['seed']} of {of}"
        if trial["status"] not in STATES:
            raise _Misfit(f"{here} has status {trial['status']!r}, which is none of {', '.join(STATES)}")
        if trial["status"] == "finished" and trial["nats"] is None:
            raise _Misfit(f"{here} is finished and has no nats")
        for evaluation in ("nats", "nats_off"):
            _check_nats(trial[evaluation], f"{evaluation} of {here}", num_documents)
    seeds = [trial["seed"] for trial in trials]
    if len(set(seeds)) < len(seeds):
        raise _Misfit(f"{of} has a seed twice: {', '.join(map(str, seeds))}")
    finished = [trial["nats_off"] is None for trial in trials if trial["status"] == "finished"]
    if len(set(finished)) > 1:
        raise _Misfit(f"{of} has nats_off for some seeds and not for others")


def _check_nats(nats: Sequence[float] | None, of: str, num_documents: int) -> None:
    if nats is None:
        return
    if len(nats) != num_documents:
        raise _Misfit(f"{of} are {len(nats)} numbers for {num_documents} documents")
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in nats):
        raise _Misfit(f"{of} are not all finite numbers")


def _has(record: Any, fields: Sequence[str], of: str) -> None:
    if not isinstance(record, Mapping):
        raise _Misfit(f"{of} is no record of fields")
    if missing := [field for field in fields if field not in record]:
        raise _Misfit(f"{of} lacks {', '.join(missing)}")


def read_results(path: Path) -> dict[str, Any]:
    """The results file of `ablate`, `scaling` and their kin, whole and of this layout.

    Raises:
        InputError: the file is missing, cut short, of another layout, or does not fit together; the message
            names the file, the row and the way out.
    """
    return checked(Path(path))
