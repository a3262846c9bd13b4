"""How much of what is held out RETRO can read neighbours for is told before anything is trained."""

from pathlib import Path

import numpy as np
import pytest

from errors import InputError
from models.families import configuration, with_decoder_fields
from storage.sealed import read_sealed, write_sealed
from studies.prepare import Text, prepare, reopen
from studies.stages import Stages
from studies.trials.held_out import few_in_view, held_out, share_beside_neighbours
from studies.trials.trial import Trial

TINY = str(Path(__file__).parents[1] / "models/bert/tiny")
WORDS = "seven words are enough for all chinese \u6570\u636e\u7d22\u5f15".split()


def prepared(folder, documents, words):
    random = np.random.default_rng(0)
    (folder / "text").mkdir()
    for number in range(documents):
        (folder / f"text/{number}.txt").write_text(" ".join(random.choice(WORDS, words)))
    text = Text(str(folder / "text"), None, "palm", 285, TINY, "Flat", 2)
    return prepare(text, folder / "artifacts", Stages())


def trial(length):
    config = with_decoder_fields(configuration("retro/smoke"), vocab_size=285, max_length=length)
    return Trial("retro", config, 0, 1, 2, length, "float32", None, neighbours="")


@pytest.mark.parametrize("length", [64, 256])
def test_long_documents(tmp_path, length):
    """In sequences of one chunk its last token alone has neighbours in view."""
    made = prepared(tmp_path, 8, 400)
    predicted = beside = 0
    for batch, _ in held_out(trial(length), made.neighbours):
        predicted += batch.weights.sum()
        beside += batch.weights[:, 63:].sum()
    share = share_beside_neighbours(trial(length), made.neighbours)
    assert share == beside / predicted
    if length == 64:
        assert 0 < share < 0.02 and few_in_view(share).startswith("Only 1.5")
    else:
        assert 0.5 < share < 1 and few_in_view(share) == ""


def test_documents_of_one_chunk(tmp_path):
    """Whatever the length of sequences: their last token, the end, predicts nothing."""
    made = prepared(tmp_path, 60, 8)
    assert share_beside_neighbours(trial(128), made.neighbours) == 0
    said = few_in_view(0)
    assert "RETRO on is RETRO off" in said and "--length" in said and "its last token, the 64th," in said
    assert few_in_view(0.031).startswith("Only 3.10% of the held-out tokens")


def test_the_share_of_cut_chunks_is_kept_with_the_run(tmp_path, capsys, monkeypatch):
    """And said each time, also where the keys are found made."""
    monkeypatch.setattr("retrieval.keys.bert.MAX_WORDPIECES", 20)
    prepared(tmp_path, 6, 100)
    assert "% of the chunks have more wordpieces" in capsys.readouterr().err
    text = Text(str(tmp_path / "text"), None, "palm", 285, TINY, "Flat", 2)
    made = prepare(text, tmp_path / "artifacts", Stages())
    assert 0.05 < made.cut_chunks <= 1
    assert f"Warning: {made.cut_chunks:.0%} of the chunks have more wordpieces" in capsys.readouterr().err
    made.save(tmp_path)
    assert reopen(tmp_path).cut_chunks == made.cut_chunks


@pytest.mark.parametrize("value", ["a half", [0.5]])
def test_a_share_that_is_no_number_is_refused(tmp_path, value):
    made = prepared(tmp_path, 6, 40)
    made.save(tmp_path)
    write_sealed(tmp_path / "data.json", read_sealed(tmp_path / "data.json") | {"cut_chunks": value})
    with pytest.raises(InputError, match="cut_chunks"):
        reopen(tmp_path)
