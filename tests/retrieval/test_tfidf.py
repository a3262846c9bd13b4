"""TF-IDF keys: unit length, the nearness of exact TF-IDF, words of the training documents only, same bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from errors import InputError
from retrieval.keys.encoders import fitted_tfidf, open_encoder, tfidf_encoder
from retrieval.keys.tfidf import PARTS, PATTERN, fit_tfidf

WORDS = [f"{a}{b}{c}" for a in "abcdefgh" for b in "xyz" for c in "0123456789"]


def texts_of(seed, count, length=30):
    """Words in Zipf's manner: some are in most texts, most are in few."""
    rng = np.random.default_rng(seed)
    chance = 1 / np.arange(1, len(WORDS) + 1)
    return [" ".join(rng.choice(WORDS, length, p=chance / chance.sum())) for _ in range(count)]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfidf")
    fit_tfidf(texts_of(0, 400), folder)
    return tfidf_encoder(str(folder))


def test_cosines_are_those_of_exact_tfidf_up_to_the_projections_noise(fitted):
    texts = texts_of(1, 60)
    exact = TfidfVectorizer(token_pattern=PATTERN, sublinear_tf=True).fit(texts_of(0, 400)).transform(texts)
    keys = fitted.encode(texts)
    error = keys @ keys.T - (exact @ exact.T).toarray()
    # 768 places: a standard deviation of about 1 / sqrt(768) = 0.036.
    assert np.sqrt((error**2).mean()) < 0.045 and abs(error.mean()) < 0.02
    distances = ((keys[:, None] - keys) ** 2).sum(-1)
    np.testing.assert_allclose(distances, 2 - 2 * keys @ keys.T, atol=1e-5)


@settings(max_examples=40)
@given(
    texts=st.lists(st.sampled_from(["", " ", "\x00", "never_seen", WORDS[0], "é漢"]) | st.text(), max_size=6)
)
def test_every_text_has_a_finite_key_of_unit_length_whatever_its_company(fitted, texts):
    keys = fitted.encode(texts)
    assert keys.shape == (len(texts), 768) and keys.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(keys, axis=1), 1, rtol=1e-5)
    for text, key in zip(texts, keys):
        np.testing.assert_array_equal(fitted.encode([text])[0], key)


def test_a_text_of_nothing_known_is_no_ones_neighbour(fitted):
    empty, other = fitted.encode(["", "never_seen"])
    np.testing.assert_array_equal(empty, other)
    assert abs(fitted.encode(texts_of(2, 50)) @ empty).max() < 0.2


def test_the_same_texts_give_the_same_bytes(fitted, tmp_path):
    fit_tfidf(iter(texts_of(0, 400)), tmp_path)
    again = tfidf_encoder(str(tmp_path))
    assert again.hash == fitted.hash
    np.testing.assert_array_equal(again.encode(["ax0 ay1"]), fitted.encode(["ax0 ay1"]))
    fit_tfidf(texts_of(3, 400), tmp_path)
    assert tfidf_encoder(str(tmp_path)).hash != fitted.hash


def test_words_of_held_out_documents_weigh_nothing(make_store, tokenizer, tmp_path):
    store = make_store(tmp_path / "store", [30, 200], is_validation=[False, True])
    encoder = fitted_tfidf(tmp_path, store, tokenizer)
    seen, held_out = (set(tokenizer.decode(store.document_tokens(d)).split()) for d in (0, 1))
    unseen = encoder.encode([""])
    for word in held_out - seen:
        np.testing.assert_array_equal(encoder.encode([word]), unseen)
    assert (encoder.encode(sorted(seen)) != unseen).any(axis=1).all() and held_out - seen
    assert open_encoder(encoder.spec).hash == fitted_tfidf(tmp_path, store, tokenizer).hash == encoder.hash


def test_a_store_without_training_documents(make_store, tokenizer, tmp_path):
    store = make_store(tmp_path / "store", [30], is_validation=[True])
    key = fitted_tfidf(tmp_path, store, tokenizer).encode(["aa bb"])
    assert np.isfinite(key).all() and np.linalg.norm(key) == 1


@pytest.mark.parametrize("name", PARTS)
def test_weights_that_are_missing_or_truncated(tmp_path, name):
    fit_tfidf(["a b c"], tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-2])
    with pytest.raises(InputError, match="TF-IDF weights in .* are missing or damaged"):
        tfidf_encoder(str(tmp_path))
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match="missing or damaged"):
        tfidf_encoder(str(tmp_path))
