"""What is prepared is found again by the names that were saved, wherever the folders have gone."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from studies.prepare import Text, prepare, reopen
from studies.stages import Stages

TINY = str(Path(__file__).parents[1] / "models/bert/tiny")


@pytest.mark.parametrize("keys", ["bert", "tfidf"])
def test_what_made_the_keys_is_opened_again(tmp_path, monkeypatch, keys):
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        words = np.random.default_rng(number).choice(["seven", "words", "are", "enough", "for", "all"], 200)
        Path(f"{number}.txt").write_text(" ".join(words))
    text = Text("*.txt", None, "palm", 275, TINY, "auto", 2, keys)
    prepared = prepare(text, Path("runs/artifacts"), Stages())
    Path("runs/run").mkdir()
    prepared.save(Path("runs/run"))
    shutil.move("runs", "moved")
    again = reopen(Path("moved/run"))
    assert again.key_encoder.name == keys
    assert len(again.neighbours.ids) == again.store.chunk_offsets[-1]
    assert again.key_encoder.encode(["seven words"]).shape[1] == (768 if keys == "tfidf" else 32)
