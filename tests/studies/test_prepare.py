"""What is prepared is found again by the names that were saved, wherever the folders have gone."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from errors import InputError
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


def test_what_was_taken_of_the_corpus_is_said_before_anything_is_made_of_it(tmp_path, capsys):
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("a line of some words\n" * 40)
    (tmp_path / "picture.png").write_bytes(b"")
    text = Text(str(tmp_path), 1000, "palm", 300, TINY, "Flat", 2)
    with pytest.raises(InputError) as caught:
        prepare(text, tmp_path / "artifacts", Stages())
    said = capsys.readouterr().err
    assert "1 document, 840 bytes of the 2.52 kB that can be read; the most is 1.00 kB" in said
    assert "left out: 1 unknown suffix" in said
    assert "cannot be split" in str(caught.value)
    assert "a budget took 1 document, 840 bytes of the 2.52 kB that can be read" in str(caught.value)
    assert "larger --corpus-bytes" in str(caught.value)


@pytest.mark.parametrize("held_out", ["group", "document"])
def test_where_no_budget_has_left_anything_none_is_blamed(tmp_path, held_out):
    (tmp_path / "one.txt").write_text("a line of some words\n" * 40)
    text = Text(str(tmp_path / "one.txt"), 1_000_000, "palm", 300, TINY, "Flat", 2, held_out=held_out)
    with pytest.raises(InputError, match="cannot be split.* one.txt") as caught:
        prepare(text, tmp_path / "artifacts", Stages())
    assert "--corpus-bytes" not in str(caught.value)


def test_a_vocabulary_too_large_for_what_the_budget_left_names_it_too(tmp_path):
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text(f"a line of some words, the {number}th of all\n" * 40)
    text = Text(str(tmp_path), 6000, "palm", 3000, TINY, "Flat", 2, held_out="document")
    with pytest.raises(InputError, match="3,000 is larger than the text allows.*larger --corpus-bytes"):
        prepare(text, tmp_path / "artifacts", Stages())
