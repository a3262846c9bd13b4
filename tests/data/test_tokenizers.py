"""PaLM's tokenizer loses nothing; Gopher's gives the NFKC form; both say what a text does not allow."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import data.tokenizers
from data.tokenizers import STYLES, Tokenizer, train_tokenizer
from errors import InputError
from tests.data.foreign_tokenizer import foreign_model

# Real code with a little of everything else: this project's own data room.
TEXTS = [path.read_text() for path in sorted(Path(data.tokenizers.__file__).parent.glob("*.py"))]
TEXTS += ["A tab\there, 1234 times,\r\nand Größe, naïve, 数学。\n"]
VOCAB_SIZE = 600


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    for style in STYLES:
        train_tokenizer(TEXTS, style=style, vocab_size=VOCAB_SIZE, path=folder / style)
    return {style: Tokenizer(folder / style) for style in STYLES}


unicode_text = st.text(st.characters(exclude_categories=["Cs"]))
awkward = st.sampled_from(
    ["\u2581", "\0", "\r\n", "\n", "\t", "    ", "<s>", "</s>", "<unk>", "<pad>", "<0x0A>", "<0xE2>", "12.50",
     "\u0301", "e\u0301", "\ufeff", "\ufffd", "\u3000", "\U0001f600", "\x7f", "\x85", "\u2047", "def f(x):"]
)  # fmt: skip
without_marks = st.characters(categories=["L", "N", "P", "S", "Zs"])
any_text = st.lists(unicode_text | awkward, max_size=8).map("".join)


@settings(max_examples=400)
@given(any_text)
@example("\u2581")
@example(" \u2581\u2581 a")
def test_palm_is_lossless(tokenizers, text):
    ids = tokenizers["palm"].encode(text)
    assert tokenizers["palm"].decode(ids) == text
    assert tokenizers["palm"].decode(list(ids)) == text


@settings(max_examples=100)
@given(any_text)
@example("\u2581 \U0001f600<0xE2>")
def test_the_bytes_of_the_tokens_are_those_of_the_text(tokenizers, text):
    for tokenizer in tokenizers.values():
        ids = tokenizer.encode(text)
        assert tokenizer.num_bytes[ids].sum() == len(tokenizer.decode(ids).encode())
        special = [tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id]
        assert not tokenizer.num_bytes[special].any()


def test_palm_keeps_every_character_of_unicode(tokenizers):
    characters = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    for start in range(0, len(characters), 4096):
        text = "a".join(characters[start : start + 4096])
        assert tokenizers["palm"].decode(tokenizers["palm"].encode(text)) == text


def test_palm_gives_every_digit_its_own_token(tokenizers):
    palm = tokenizers["palm"]
    ids = palm.encode("x = 123.50 1234")
    digits = [token for token in (palm.decode([i]) for i in ids) if any(c.isdigit() for c in token)]
    assert digits == list("123501234")


def test_newlines_and_indentation_are_learnt(tokenizers):
    palm = tokenizers["palm"]
    pieces = [palm.decode([i]) for i in range(palm.vocab_size)]
    assert any(piece.endswith("\n") and len(piece) > 1 for piece in pieces)
    assert any(piece.isspace() and len(piece) > 1 for piece in pieces)
    code = "".join(TEXTS)
    assert len(palm.encode(code)) < 0.6 * len(code)


@settings(max_examples=300)
@given(st.text(without_marks | st.sampled_from("\n\t\r ﬁ①Ａ\u00a0\u2581")))
def test_gopher_gives_the_nfkc_form(tokenizers, text):
    gopher = tokenizers["gopher"]
    assert gopher.decode(gopher.encode(text)) == unicodedata.normalize("NFKC", text)


@settings(max_examples=200)
@given(any_text)
def test_gopher_is_lossless_on_what_it_has_normalised(tokenizers, text):
    gopher = tokenizers["gopher"]
    once = gopher.decode(gopher.encode(text))
    assert gopher.decode(gopher.encode(once)) == once


@pytest.mark.parametrize("style", STYLES)
def test_special_ids(tokenizers, style):
    tokenizer = tokenizers[style]
    specials = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id]
    assert tokenizer.pad_id == 0 and len(set(specials)) == 4
    assert tokenizer.vocab_size == VOCAB_SIZE
    ids = tokenizer.encode("<s> <unk> <pad> </s> text")
    assert ids.dtype == np.int32 and not set(specials) & set(ids.tolist()) and ids.max() < VOCAB_SIZE
    surrounded = [tokenizer.bos_id, *ids[:5], tokenizer.unk_id, *ids[5:], tokenizer.eos_id, tokenizer.pad_id]
    assert tokenizer.decode(surrounded) == "<s> <unk> <pad> </s> text"
    assert tokenizer.encode("").shape == (0,) and tokenizer.decode([]) == ""


@given(st.lists(st.integers(0, VOCAB_SIZE - 1)))
def test_any_ids_decode_to_unicode_text(tokenizers, ids):
    tokenizers["palm"].decode(ids).encode()


def test_training_is_deterministic(tokenizers, tmp_path):
    train_tokenizer(TEXTS, style="palm", vocab_size=VOCAB_SIZE, path=tmp_path / "again")
    assert Tokenizer(tmp_path / "again").hash == tokenizers["palm"].hash != tokenizers["gopher"].hash


def test_the_largest_vocabulary_is_named_and_works(tmp_path):
    texts = ["a few words are not enough, and these few words are few"]
    with pytest.raises(InputError, match=r"5,000 is larger than the text allows: at most (\d+)") as caught:
        train_tokenizer(texts, style="palm", vocab_size=5000, path=tmp_path / "model")
    assert not (tmp_path / "model").exists()
    largest = int(str(caught.value).split("at most ")[1].split()[0])
    train_tokenizer(texts, style="palm", vocab_size=largest, path=tmp_path / "model")
    assert Tokenizer(tmp_path / "model").vocab_size == largest


def test_other_bad_input(tokenizers, tmp_path):
    with pytest.raises(InputError, match=r"vocabulary of 100 .*at least \d{3}"):
        train_tokenizer(TEXTS, style="palm", vocab_size=100, path=tmp_path / "model")
    for texts in ([], [""]):
        with pytest.raises(InputError, match="no text"):
            train_tokenizer(texts, style="palm", vocab_size=300, path=tmp_path / "model")
    with pytest.raises(InputError, match=r"Character 1 .*\\ud800"):
        tokenizers["palm"].encode("a\ud800b")
    with pytest.raises(InputError, match="absent"):
        Tokenizer(tmp_path / "absent")
    (tmp_path / "damaged").write_bytes(b"no model")
    with pytest.raises(InputError, match="damaged"):
        Tokenizer(tmp_path / "damaged")


def rare_spaces():
    """Chinese-like texts of which one character in ten thousand is a space: SentencePiece keeps 99.95 %."""
    random = np.random.default_rng(0)
    words = ["".join(map(chr, 0x4E00 + random.geometric(0.05, 3))) for _ in range(300)]
    texts = ["".join(random.choice(words, 1300)) for _ in range(20)]
    return [text[:1000] + " " + text[1000:] for text in texts[:8]] + texts[8:]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("texts", [rare_spaces(), rare_spaces()[8:]], ids=["rare", "none"])
@pytest.mark.parametrize("at_most", [False, True])
def test_spaces_come_back_however_rare_they_are(tmp_path, style, texts, at_most):
    train_tokenizer(texts, style=style, vocab_size=380, path=tmp_path / "model", at_most=at_most)
    tokenizer = Tokenizer(tmp_path / "model")
    for text in (" ", "\u2581", "\u7b2c \u4e8c", " \u2581 \u2581\u2581  x "):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert tokenizer.num_bytes[ids].sum() == len(text.encode())
    assert len(tokenizer.encode(" ")) == 1
    assert not np.array_equal(tokenizer.encode(" "), tokenizer.encode("\u2581"))


def test_a_sample_without_a_space_loses_none(tmp_path, monkeypatch):
    """The tokenizer learns from every n-th stretch, and the only space may stand in another."""
    monkeypatch.setattr(data.tokenizers, "TRAINING_CHARACTERS_PER_PIECE", 16)
    first, *others = rare_spaces()[8:]
    texts = [first, "\u4e00 " * 10, *others]
    assert not any(" " in stretch for stretch in data.tokenizers._sample(texts, 352))
    train_tokenizer(texts, style="palm", vocab_size=352, path=tmp_path / "model", at_most=True)
    tokenizer = Tokenizer(tmp_path / "model")
    assert tokenizer.decode(tokenizer.encode("a b")) == "a b"


def test_the_smallest_vocabulary_that_is_named_has_room_for_the_space(tmp_path):
    """Whether or not the space is rare."""
    for texts in (rare_spaces(), TEXTS):
        with pytest.raises(InputError, match="at least") as caught:
            train_tokenizer(texts, style="palm", vocab_size=100, path=tmp_path / "model")
        smallest = int(str(caught.value).split("at least ")[1].rstrip(".").replace(",", ""))
        train_tokenizer(texts, style="palm", vocab_size=smallest, path=tmp_path / "model")
        assert Tokenizer(tmp_path / "model").decode(Tokenizer(tmp_path / "model").encode("a b")) == "a b"


def test_a_text_with_spaces_gives_the_model_that_it_always_gave(tmp_path):
    """Stored tokens are named by this file: bit for bit, the space is not asked for where it comes anyway."""
    train_tokenizer(["a few words, " * 50], style="palm", vocab_size=270, path=tmp_path / "model")
    model = (tmp_path / "model").read_bytes()
    plain = data.tokenizers._trained(iter(["a few words, " * 50]), "palm", 270, False, {})
    asked = data.tokenizers._trained(
        iter(["a few words, " * 50]), "palm", 270, False, {"required_chars": "\u2581"}
    )
    assert model == plain != asked


@pytest.mark.parametrize(
    "ids, missing",
    [
        ({"bos_id": -1}, "no bos_id, and"),
        ({"eos_id": -1}, "no eos_id, and"),
        ({"bos_id": -1, "eos_id": -1}, "no bos_id and no eos_id"),
    ],
)
def test_a_model_without_the_ids_that_every_document_needs(tmp_path, ids, missing):
    """T5's, mT5's and ALBERT's are such: -1 was stored as 65535, an id beyond every vocabulary."""
    model = foreign_model(tmp_path / "model", "some words " * 30, 40, **ids)
    with pytest.raises(InputError, match=f"model {model} has {missing}.*bos_id=1.*--tokenizer palm"):
        Tokenizer(model)


def test_a_model_without_padding_is_one(tmp_path):
    tokenizer = Tokenizer(foreign_model(tmp_path / "model", "some words " * 30, 40))
    assert tokenizer.pad_id == -1 and not tokenizer.has_bytes
    assert tokenizer.decode([*tokenizer.encode("some words"), tokenizer.unk_id, -1]) == "some words"
    np.testing.assert_array_equal(tokenizer.encode("\u2581"), [tokenizer.unk_id])


@given(any_text)
@example("a b\u2581 \u2581")
def test_a_foreign_model_with_bytes_keeps_spaces_that_it_does_not_know(spaceless, text):
    assert spaceless.decode(spaceless.encode(text)) == text
    assert spaceless.num_bytes[spaceless.encode(text)].sum() == len(text.encode())


@pytest.fixture(scope="module")
def spaceless(tmp_path_factory):
    return Tokenizer(
        foreign_model(
            tmp_path_factory.mktemp("spaceless") / "model", "onelongword" * 30, 290, byte_fallback=True,
            add_dummy_prefix=False, remove_extra_whitespaces=False, normalization_rule_name="identity",
        )
    )  # fmt: skip


@pytest.mark.parametrize("text", ["a", "hello world", "\u6570", "x = 1\n" * 50])
def test_a_text_too_short_for_the_vocabulary_gets_a_smaller_one(tmp_path, text):
    with pytest.raises(InputError):
        train_tokenizer([text], style="palm", vocab_size=VOCAB_SIZE, path=tmp_path / "exact")
    train_tokenizer([text], style="palm", vocab_size=VOCAB_SIZE, path=tmp_path / "at most", at_most=True)
    tokenizer = Tokenizer(tmp_path / "at most")
    assert 256 < tokenizer.vocab_size < VOCAB_SIZE
    assert tokenizer.decode(tokenizer.encode(text + " \u6570?")) == text + " \u6570?"
