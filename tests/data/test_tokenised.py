"""The way from text to tokens says what of a text it cannot keep."""

import numpy as np
import pytest

from data.documents import Document
from data.tokenised import all_training, copy_tokenizer, store_tokens
from data.tokenizers import Tokenizer
from errors import InputError
from tests.data.foreign_tokenizer import foreign_model

TEXTS = ["known words alone", "an ß and then ßß, unknown", "known words again", "and ß \u2581"]


def stored(root, model, texts=TEXTS):
    documents = [Document(text, f"document {d}", "docs", f"document {d}") for d, text in enumerate(texts)]
    tokenizer = Tokenizer(model)
    return store_tokens(root, {}, tokenizer, lambda: all_training(documents, np.arange(len(texts))))


@pytest.mark.parametrize("model_type", ["char", "unigram"])
def test_characters_that_a_tokenizer_does_not_know_are_counted_each_time(tmp_path, capsys, model_type):
    model = foreign_model(
        tmp_path / "m", "known words alone an and then again, " * 30, 40, model_type=model_type
    )
    for _ in range(2):  # made, then found again
        store = stored(tmp_path, model)
        unknown = sum((store.document_tokens(d) == Tokenizer(model).unk_id).sum() for d in range(4))
        said = capsys.readouterr().err
        assert f"left out: {unknown} stretches of text, in 2 of 4 documents, the first in document 1" in said
        assert "byte_fallback=true" in said and str(model) in said
    stored(tmp_path / "known", model, ["known words alone"] * 2)
    assert capsys.readouterr().err == ""


def test_a_tokenizer_with_bytes_keeps_every_character(tmp_path, capsys):
    store = stored(tmp_path, model := foreign_model(tmp_path / "m", TEXTS[0] * 30, 300, byte_fallback=True))
    assert capsys.readouterr().err == ""
    assert "ß" in Tokenizer(model).decode(store.document_tokens(1))


def test_a_model_without_begin_or_end_is_refused_before_anything_is_copied(tmp_path):
    model = foreign_model(tmp_path / "t5", "some words " * 30, 40, bos_id=-1, pad_id=0, eos_id=1, unk_id=2)
    with pytest.raises(InputError, match="t5 has no bos_id, and"):
        copy_tokenizer(tmp_path / "root", model)
    assert not [path for path in (tmp_path / "root").iterdir() if path.is_dir()]
