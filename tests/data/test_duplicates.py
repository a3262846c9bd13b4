"""Nothing that repeats straddles the split, and a document's side does not depend on the rest."""

import itertools

import numpy as np
import pytest
from datasketch import MinHash, MinHashLSH
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from data.documents import Document
from data.duplicates import duplicate_groups
from data.near_duplicates import _Shared
from data.ngrams import shared_ngram_fraction
from data.split import split
from errors import InputError


def words(start, stop):
    return [f"w{i}" for i in range(start, stop)]


def documents_of(texts, groups=None):
    groups = groups or [f"own{d}" for d in range(len(texts))]
    return [Document(text, f"doc{d}", "docs", group) for d, (text, group) in enumerate(zip(texts, groups))]


def shingles(text):
    tokens = text.lower().split()
    return {tuple(tokens[i : i + 13]) for i in range(max(len(tokens) - 12, 1))} if tokens else set()


def jaccard(a, b):
    a, b = shingles(a), shingles(b)
    return len(a & b) / len(a | b) if a | b else 0.0


@st.composite
def overlapping_documents(draw):
    """Windows of one long row of words, so that every similarity from 0 to 1 occurs; a few share a group."""
    spans = draw(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 120)), min_size=1, max_size=8))
    texts = [" ".join(words(start, start + length)) for start, length in spans]
    shared = draw(st.sets(st.integers(0, 8), max_size=3))
    return documents_of(texts, ["shared" if d in shared else f"own{d}" for d in range(len(spans))])


def same_partition(a, b):
    equal = lambda groups: groups[:, None] == groups[None, :]
    return np.array_equal(equal(np.asarray(a)), equal(np.asarray(b)))


@settings(max_examples=150)
@given(overlapping_documents())
@example(documents_of(["", "", " "]))
def test_groups_are_what_equality_similarity_and_declaration_link(documents):
    linked = np.eye(len(documents), dtype=bool)
    for (i, a), (j, b) in itertools.combinations(enumerate(documents), 2):
        linked[i, j] = a.group == b.group or a.text == b.text or jaccard(a.text, b.text) >= 0.8
    linked |= linked.T
    for _ in documents:
        linked = linked @ linked
    assert same_partition(duplicate_groups(documents), linked.argmax(axis=1))


def by_minhash(documents):
    """The groups as MassiveText finds them: candidates by MinHash (32 bands of 4), then compared."""
    linked = np.eye(len(documents), dtype=bool)
    index = MinHashLSH(num_perm=128, params=(32, 4))
    for d, document in enumerate(documents):
        signature = MinHash(128, seed=1)
        signature.update_batch([" ".join(shingle).encode() for shingle in shingles(document.text)])
        for other in index.query(signature):
            linked[d, other] = linked[other, d] = jaccard(document.text, documents[other].text) >= 0.8
        index.insert(d, signature)
    return connected_components(linked)[1]


def records(kind, number):
    """Texts of one template: what differs is unique, drawn from few values, or a word here and there."""
    random = np.random.default_rng(0)
    letter = [f"word{i}" for i in random.integers(300, size=60)]
    for i in range(number):
        if kind == "unique":
            yield " ".join([f"order {i}", *letter[:20], f"reference{i}"])
        elif kind == "near duplicates":
            yield " ".join([*letter, f"number {i}"])
        elif kind == "few values":
            slots = [f"{letter[j]} {letter[j + 20]} value{random.integers(12)}" for j in range(9)]
            yield " ".join(slots)
        else:
            changed = {*random.choice(60, random.integers(4), replace=False)}
            yield " ".join(
                f"x{random.integers(40)}" if j in changed else word for j, word in enumerate(letter)
            )


KINDS = ["unique", "near duplicates", "few values", "a word here and there"]


@pytest.mark.parametrize("kind", KINDS)
def test_templated_records_have_the_groups_that_minhash_finds(kind):
    documents = documents_of([*records(kind, 150)])
    assert same_partition(duplicate_groups(documents), by_minhash(documents))


def test_a_chain_of_windows_is_one_group():
    """Of the many that share a shingle with it, each is similar to its next ones alone."""
    texts = [" ".join(words(start, start + 112)) for start in np.random.default_rng(0).permutation(400)]
    assert jaccard(texts[0], texts[1]) < 0.8
    assert len(set(duplicate_groups(documents_of(texts)).tolist())) == 1
    every_twelfth = [" ".join(words(start, start + 112)) for start in range(0, 400, 12)]
    assert len(set(duplicate_groups(documents_of(every_twelfth)).tolist())) == len(every_twelfth)


@pytest.mark.parametrize("kind", KINDS)
def test_the_work_grows_with_the_number_of_records_not_with_its_square(kind, monkeypatch):
    """By MinHash, two thousand records of 25 words took two million comparisons."""
    compared = []
    any_similar = _Shared.any_similar
    monkeypatch.setattr(
        _Shared, "any_similar", lambda *them: compared.append(len(them[2])) or any_similar(*them)
    )
    duplicate_groups(documents_of([*records(kind, 2000)]))
    assert sum(compared) < 20_000


def test_near_duplicates_around_the_threshold():
    base = " ".join(words(0, 112))  # 100 shingles
    near = " ".join(words(11, 123))  # shares 89 of 111
    far = " ".join(words(12, 124))  # shares 88 of 112
    assert jaccard(base, near) >= 0.8 > jaccard(base, far)
    groups = duplicate_groups(documents_of([base, near]))
    assert groups[0] == groups[1]
    groups = duplicate_groups(documents_of([base, far]))
    assert groups[0] != groups[1]


def test_case_and_punctuation_do_not_hide_a_copy():
    text = " ".join(words(0, 50))
    groups = duplicate_groups(documents_of([text, text.upper().replace(" ", ", ")]))
    assert groups[0] == groups[1]


@settings(max_examples=60)
@given(overlapping_documents(), st.randoms(use_true_random=False), st.floats(0.05, 0.95))
def test_sides_do_not_depend_on_the_order(documents, random, fraction):
    groups = duplicate_groups(documents)
    assume(len(set(groups)) > 1)
    sides = dict(zip(documents, split(documents, groups, fraction)))
    shuffled = random.sample(documents, len(documents))
    assert dict(zip(shuffled, split(shuffled, duplicate_groups(shuffled), fraction))) == sides
    assert 0 < sum(sides.values()) < len(sides)
    for a, b in itertools.combinations(documents, 2):
        if a.group == b.group or jaccard(a.text, b.text) >= 0.8:
            assert sides[a] == sides[b]


def test_adding_documents_moves_none():
    texts = [" ".join(words(100 * d, 100 * d + 60)) for d in range(200)]
    few, many = documents_of(texts[:100]), documents_of(texts)
    sides = split(few, duplicate_groups(few), 0.2)
    np.testing.assert_array_equal(split(many, duplicate_groups(many), 0.2)[:100], sides)


@pytest.mark.parametrize("size", [1, 4])
def test_the_fraction_is_of_groups_whatever_their_size(size):
    texts = [" ".join(words(100 * d, 100 * d + 20)) for d in range(2000)]
    documents = documents_of(texts, [f"group{d // size}" for d in range(2000)])
    fraction = split(documents, duplicate_groups(documents), 0.1).mean()
    assert abs(fraction - 0.1) < 4 * np.sqrt(0.09 / (2000 / size))


@pytest.mark.parametrize("fraction", [0.0, 1e-9, 1.0])
def test_both_sides_get_something(fraction):
    documents = documents_of(["one text", "another text", "a third"])
    assert 0 < split(documents, duplicate_groups(documents), fraction).sum() < 3


@pytest.mark.parametrize("texts", [["only one"], ["copy", "copy"]])
def test_a_corpus_of_one_group_cannot_be_split(texts):
    documents = documents_of(texts)
    with pytest.raises(InputError, match=r"cannot be split.*at least two different documents"):
        split(documents, duplicate_groups(documents), 0.1)


@given(overlapping_documents(), st.lists(st.booleans(), min_size=8, max_size=8))
def test_shared_fraction_counts_the_shingles_found_in_training(documents, sides):
    is_validation = np.array(sides[: len(documents)])
    training = [shingles(d.text) for d, held_out in zip(documents, is_validation) if not held_out]
    known = set().union(*training)
    fractions = shared_ngram_fraction(documents, is_validation)
    for d, document in enumerate(documents):
        own = shingles(document.text)
        expected = len(own & known) / len(own) if own and is_validation[d] else 0.0
        assert fractions[d] == pytest.approx(expected)
