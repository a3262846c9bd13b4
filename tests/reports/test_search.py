"""The report says what was measured of a database, and what lost recall costs a trained model."""

import json
from pathlib import Path

import numpy as np
import pytest

from data.documents import Document
from errors import InputError
from reports.search import report
from retrieval.database.changes import add, build
from retrieval.database.database import Database
from retrieval.database.recipe import Recipe
from studies.prepare import FILE_NAME
from studies.recall_in_bits import bits_by_nprobe

TINY = str(Path(__file__).parents[1] / "models/bert/tiny")
WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu".split()


def documents(name: str, count: int) -> list[Document]:
    rng = np.random.default_rng(count)
    texts = (" ".join(rng.choice(WORDS, 150)) for _ in range(count))
    return [Document(text, f"{name}/{n}", "docs", f"{name}/{n}") for n, text in enumerate(texts)]


@pytest.mark.parametrize("index", ["auto", "IVF4,SQ8"])
def test_a_database_has_a_report_of_what_it_finds_and_costs(tmp_path, index):
    build(tmp_path / "d", documents("first", 12), Recipe(vocab_size=300, encoder=TINY, index=index, spare=3))
    add(tmp_path / "d", documents("later", 3))
    path = report(Database(tmp_path / "d"), tmp_path / "out")
    figures, text = json.loads((path.parent / "report.json").read_bytes()), path.read_text()
    assert figures["all chunks"] > figures["chunks"] > 12 and "93.18" in text
    if index == "auto":
        assert figures["recall"] == {"plain": 1.0, "reranked": 1.0} and not figures["curve"]
        assert not (path.parent / "recall.png").exists()
    else:
        curve = figures["curve"]
        assert [point["nprobe"] for point in curve] == [1, 2, 4]
        assert curve[0]["reranked"] <= curve[-1]["reranked"] == 1
        assert (path.parent / "recall.png").read_bytes().startswith(b"\x89PNG")
        assert f"| {curve[0]['reranked']:.4g} " in text
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "d/artifacts").rglob("keys.npy")}
    assert figures["bytes"]["keys"] > sum(sizes.values()) > 0


@pytest.mark.exhaustive
def test_a_trained_models_bits_per_byte_are_exact_where_every_list_is_searched(run):
    folder, artifacts, _ = run
    names = folder / "retro/seed-0" / FILE_NAME
    names.write_text(json.dumps(json.loads(names.read_bytes()) | {"root": str(artifacts)}))
    figures = bits_by_nprobe(folder / "retro/seed-0", (1, 2**20))
    exact, one, every = figures["rows"]
    assert exact["nprobe"] == "exact" and one["nprobe"] == 1
    assert exact["difference"] == 0 and one["recall@2"] < every["recall@2"] == 1
    assert abs(every["difference"]) < 1e-6 < abs(one["difference"])
    assert one["low"] <= one["difference"] <= one["high"]


def test_a_run_without_retrieval_is_named(run):
    with pytest.raises(InputError, match="is no RETRO"):
        bits_by_nprobe(run[0] / "palm/seed-0")
