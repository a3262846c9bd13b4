"""Results files as sections of the pages, in three steps that every kind of file has a module for:

    laid_out(name, sentences(judged(results)))

What they say comes from the modules that the experiments themselves print from.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import reports.comparison.section
import reports.study.section
import reports.systems.parallelism
import reports.systems.plan
from errors import InputError
from reports.section import Section
from studies.results_file import is_study, read_results

KINDS = {
    "compare": reports.comparison.section,
    "parallelism": reports.systems.parallelism,
    "plan": reports.systems.plan,
}  # all others are tables of rows
ORDER = (
    "compare", "blocks", "ablate palm", "ablate gopher", "ablate retro", "scaling", "payoff", "square",
    "sweep", "parallelism", "plan",
)  # fmt: skip


def sections(folder: Path) -> list[Section]:
    """One per results.json in a folder below `folder`, in the order of ORDER, then by folder.

    Raises:
        InputError: there is no file, or one is damaged or of no known layout.
    """
    unnamed = [section(path) for path in sorted(folder.glob("*/results.json"))]
    if not unnamed:
        raise InputError(f"There is no results.json in a folder below {folder}: run an experiment first.")
    place = lambda experiment: ORDER.index(experiment) if experiment in ORDER else len(ORDER)
    return sorted(_distinguished(unnamed), key=lambda section: (place(section.experiment), section.name))


def section(path: Path) -> Section:
    """The section of one results file.

    Raises:
        InputError: it is damaged or of no known layout.
    """
    results = read_results(path)
    if not is_study(results) and results["experiment"] not in KINDS:
        raise InputError(f"{path} is of {results['experiment']}, of which there is no section: remove it.")
    kind = KINDS.get(results["experiment"], reports.study.section)
    return kind.laid_out(_slug(path.parent.name), kind.sentences(kind.judged(results)))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())


def _distinguished(unnamed: Sequence[Section]) -> list[Section]:
    """Where several sections have one title, those whose folder is not named as their experiment add what
    else it is named: `The square (retro-recipe)` of the folder square-retro-recipe.
    """
    titles = [section.title for section in unnamed]
    named = []
    for section in unnamed:
        experiment = _slug(section.experiment)
        if titles.count(section.title) > 1 and section.name != experiment:
            section = replace(section, suffix=f" ({section.name.removeprefix(f'{experiment}-')})")
        named.append(section)
    return named
