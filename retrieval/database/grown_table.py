"""The neighbour table of a database: each chunk's nearest outside its group, through all changes.

It is what a search of everything that is there would give, but a change searches only for what it concerns:
new chunks look everywhere, old ones among the new, and those that lose a neighbour once more.
"""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from retrieval.database.database import Database
from retrieval.index.nearest_outside_group import merged_rows, nearest_outside_group, rows_mentioning
from retrieval.neighbours.table import Rows, all_rows, read_rows, save_rows
from storage.artifacts import artifact

# In the manifest of an artifact: the name of the one that it takes the place of.
REPLACED = "replaced"


def grown_table(root: Path, database: Database, before: str) -> Path:
    """The table of `database`, whose last segment is new to the table named `before` ("": there is none)."""
    first = int(database.documents.first_chunks[-2])
    old = read_rows(database.artifact(before)) if before else None

    def rows_of(rows: np.ndarray) -> Rows:
        of_old, of_new = rows[rows < first], rows[rows >= first]
        parts = []
        if len(of_old):
            parts.append(
                merged_rows(tuple(column[of_old] for column in old), nearest(database, of_old, [-1]))
            )
        if len(of_new):
            parts.append(nearest(database, of_new))
        return tuple(np.concatenate(columns) for columns in zip(*parts))

    inputs = {REPLACED: before, "index": database.version.segments[-1].index}
    return _written(root, database, inputs, rows_of)


def table_without(root: Path, database: Database, gone: np.ndarray) -> Path:
    """The table of `database` after the chunks `gone` (int64) were removed, out of the table it names."""
    old = database.table

    def rows_of(rows: np.ndarray) -> Rows:
        distances, ids = (column[rows].copy() for column in old)
        at = rows_mentioning(ids, gone)
        distances[at], ids[at] = nearest(database, rows[at])
        removed = np.isin(rows, gone)
        distances[removed], ids[removed] = np.inf, -1
        return distances, ids

    inputs = {REPLACED: database.version.table, "removed": database.version.removed}
    return _written(root, database, inputs, rows_of)


def nearest(database: Database, rows: np.ndarray, segments: list[int] | None = None) -> Rows:
    """Searches the indexes of all segments, or of some, for the chunks `rows` (int64)."""
    width = database.version.recipe.k + database.version.recipe.spare
    tables = [
        nearest_outside_group(
            database.indexes[segment], database.keys, database.groups, width, rows, database.removed_chunks
        )
        for segment in (range(len(database.indexes)) if segments is None else segments)
    ]
    return functools.reduce(merged_rows, tables)


def _written(root: Path, database: Database, inputs: dict, rows_of: Callable[[np.ndarray], Rows]) -> Path:
    total = int(database.documents.chunk_offsets[-1])

    def build(folder: Path) -> None:
        save_rows(folder, all_rows(root, total, inputs, rows_of))

    table = artifact(root, "neighbours", inputs, build)
    for block in root.glob("rows-*"):
        shutil.rmtree(block)
    return table
