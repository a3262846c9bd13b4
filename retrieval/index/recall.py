"""How much of the truth an index finds: recall@k against exact search, on a sample, over nprobe.

Recall is measured on what the index is for: the k nearest chunks of *other* groups, as the neighbour table
keeps them, so neither a query itself nor its own document counts. A neighbour is right if it is no farther
than the k-th that exact search finds, so equal texts may stand for each other.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from errors import InputError
from retrieval.index.index import exact_search, inverted_file, probing, rows_of
from retrieval.index.keys import Keys
from retrieval.index.nearest_outside_group import (
    CANDIDATES_BEYOND_K,
    OWN_GROUP_ALLOWANCE,
    group_sizes,
    nearest_outside_group,
    outside_group,
)
from storage.files import write_atomic
from storage.json_files import check, read_json

K = 2  # neighbours that RETRO reads
QUERIES = 1000
WARNED_BELOW = 0.9
RECALL = "recall.json"
ROUNDING = 1e-5  # of distances in float32
FORM = {
    "k": int, "queries": int, "nprobe": (int, None), "plain": float, "reranked": float, "curve": [[float]],
}  # fmt: skip


@dataclass(frozen=True)
class Recall:
    """recall@k of an index on `queries` chunks drawn from it, at `nprobe` (None: it has no lists).

    plain: in the index's own order. reranked: after the candidates were ordered by their keys, as in the
    table. curve: (nprobe, plain, reranked) for every nprobe tried.
    """

    k: int
    queries: int
    nprobe: int | None
    plain: float
    reranked: float
    curve: tuple[tuple[int, float, float], ...] = ()


@dataclass(frozen=True)
class Truth:
    """Sampled chunks, and for each the squared distance of its k-th nearest of another group, inf where there
    are fewer than k: int64 [r], float32 [r], int64 [r] how many of k there are.
    """

    rows: np.ndarray
    farthest: np.ndarray
    counts: np.ndarray
    k: int


def exact_truth(
    keys: Keys, ids: np.ndarray, groups: np.ndarray, k: int = K, queries: int = QUERIES,
    among: np.ndarray | None = None,
) -> Truth:  # fmt: skip
    """Exact search for a sample of the chunks `ids` that depends on their number alone.

    Args:
        groups: int64 [n] by chunk id.
        among: int64, the chunks that queries are drawn from, if not from all of `ids`.
    """
    among = np.asarray(ids if among is None else among)
    size = min(queries, len(among))
    rows = np.sort(among[np.random.default_rng(1).choice(len(among), size, replace=False)])
    distances = np.full([size, k], np.inf, np.float32)

    def find(chunks: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        return exact_search(keys, ids, rows_of(keys, chunks), width)

    own_size = group_sizes(groups)[rows]
    for larger, width in ((False, OWN_GROUP_ALLOWANCE), (True, int(own_size.max(initial=0)))):
        at = np.flatnonzero((own_size > OWN_GROUP_ALLOWANCE) == larger)
        if len(at):
            distances[at], _, _ = outside_group(find, keys, groups, rows[at], k + width, k, kept=k)
    counts = np.isfinite(distances).sum(axis=1)
    farthest = np.where(np.isfinite(distances), distances, -1).max(axis=1, initial=-1)
    return Truth(rows, farthest, counts, k)


def recall_at(
    index: faiss.Index, keys: Keys, groups: np.ndarray, truth: Truth, candidates: int = CANDIDATES_BEYOND_K
) -> float:
    """The share of true neighbours among those that the table would have; 1 where there are none to find.

    candidates: as in `nearest_outside_group`; 0 keeps the order of the index.
    """
    distances, _ = nearest_outside_group(index, keys, groups, truth.k, truth.rows, candidates=candidates)
    right = (distances <= truth.farthest[:, None] * (1 + ROUNDING) + ROUNDING).sum(axis=1)
    total = truth.counts.sum()
    return float(np.minimum(right, truth.counts).sum() / total) if total else 1.0


def recall_curve(
    index: faiss.Index, keys: Keys, groups: np.ndarray, truth: Truth, nprobes: Sequence[int]
) -> list[tuple[int, float, float]]:
    """(nprobe, plain, reranked) for each nprobe."""
    curve = []
    for nprobe in nprobes:
        with probing(index, nprobe):
            curve.append((nprobe, *_plain_and_reranked(index, keys, groups, truth)))
    return curve


def _plain_and_reranked(
    index: faiss.Index, keys: Keys, groups: np.ndarray, truth: Truth
) -> tuple[float, float]:
    return recall_at(index, keys, groups, truth, candidates=0), recall_at(index, keys, groups, truth)


def doublings(last: int) -> list[int]:
    """1, 2, 4, … up to `last`."""
    return [2**power for power in range(int(last).bit_length()) if 2**power <= last]


def measure_recall(
    index: faiss.Index, keys: Keys, ids: np.ndarray, groups: np.ndarray, k: int = K, queries: int = QUERIES
) -> Recall:
    """Recall of the index as it is searched."""
    truth = exact_truth(keys, ids, groups, k, queries)
    ivf = inverted_file(index)
    nprobe = None if ivf is None else ivf.nprobe
    return Recall(k, len(truth.rows), nprobe, *_plain_and_reranked(index, keys, groups, truth))


def write_recall(folder: Path, recall: Recall) -> None:
    write_atomic(folder / RECALL, json.dumps(dataclasses.asdict(recall)))


def read_recall(folder: Path) -> Recall | None:
    """What was measured when the index in `folder` was built; None for an exact one, which needs no measure.

    Raises:
        InputError: the file is damaged.
    """
    path = Path(folder) / RECALL
    if not path.exists():
        return None
    try:
        return recall_of(read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({error}). Remove its folder and run the command again to build it anew."
        ) from error


def recall_of(values: Mapping[str, Any]) -> Recall:
    """What `dataclasses.asdict` and JSON made of a Recall; ValueError or TypeError where they did not."""
    check(values, FORM)
    return Recall(**dict(values) | {"curve": tuple(tuple(point) for point in values["curve"])})


def announce(recall: Recall) -> None:
    """Prints it, with a warning on stderr below 0.9."""
    at = "" if recall.nprobe is None else f", nprobe {recall.nprobe}"
    print(
        f"recall@{recall.k} {recall.reranked:.3f} ({recall.plain:.3f} before re-ranking; "
        f"{recall.queries:,} queries against exact search{at})"
    )
    if recall.reranked < WARNED_BELOW:
        print(
            f"Warning: the index finds only {recall.reranked:.0%} of the true neighbours. Give a factory "
            "string with longer codes or fewer lists, or 'Flat', which is exact.",
            file=sys.stderr,
        )
