"""Documents are in the groups that the file names, or that their sources say."""

import numpy as np
import pytest

from judging.documents import apart, documents_of, groups_of
from tests.reports.synthetic_results import results, row

SOURCES = ("email.iterators", "email.iterators.__doc__", "email", "wave", "pydoc_data.topics:naming")


def with_sources(sources, corpus="stdlib", **fields):
    documents = [
        {"source": source, "domain": "docs", "bytes": 10 + d, "shared_ngrams": d / 10} | fields
        for d, source in enumerate(sources)
    ]
    return {
        "config": {"corpus": corpus}, "documents": documents, "corpus": {"near_duplicate_threshold": 0.2},
    }  # fmt: skip


def test_modules_of_the_standard_library_are_of_their_package():
    assert groups_of(with_sources(SOURCES)) == ("email", "email", "email", "wave", "pydoc_data")


def test_an_article_is_its_own_group():
    articles = ("valid.txt:Tim Richmond", "valid.txt:B of the Bang", "notes/a.md", "notes/b.md")
    assert groups_of(with_sources(articles, "notes/")) == articles


@pytest.mark.parametrize("corpus", ["stdlib", "notes/"])
def test_a_group_that_is_named_is_the_group(corpus):
    assert set(groups_of(with_sources(SOURCES, corpus, group="numpy"))) == {"numpy"}


def test_sums_are_over_the_documents_of_every_group():
    documents = documents_of(with_sources(SOURCES))
    assert documents.names == ("email", "pydoc_data", "wave")
    assert documents.bytes_g.tolist() == [33, 14, 13]
    np.testing.assert_array_equal(documents.sums(np.arange(10).reshape(2, 5)), [[3, 4, 3], [18, 9, 8]])


def test_documents_that_are_left_out_are_in_no_group():
    made = with_sources(SOURCES)
    assert apart(made).tolist() == [True, True, False, False, False]
    kept = documents_of(made, ~apart(made))
    assert kept.names == ("email", "pydoc_data", "wave") and kept.bytes_g.tolist() == [12, 14, 13]
    np.testing.assert_array_equal(kept.sums(np.arange(5)), [2, 4, 3])
    assert documents_of(made, apart(made)).names == ("email",)


def test_a_study_without_groups_is_read():
    made = results([row("published", against=None)], count=20)
    assert len(documents_of(made).names) == 20
