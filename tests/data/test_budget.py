"""A budget takes what taking turns gives, decided without keeping what it leaves."""

import itertools
import weakref
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data.budget import within
from data.documents import Document, in_turns


def all_at_once(documents, max_bytes):
    """The same rule over all documents together."""
    sizes, packages = Counter(), {}
    for document in documents:
        sizes[document.group] += len(document.text.encode())
        packages[document.group] = document.package
    groups = list(sizes)
    order = [groups[i] for i in in_turns(groups, [packages[group] for group in groups])]
    totals = itertools.accumulate(sizes[group] for group in order)
    kept = {group for n, (group, total) in enumerate(zip(order, totals)) if n == 0 or total <= max_bytes}
    return [document for document in documents if document.group in kept]


def packages_of(shape):
    """Documents of packages of groups, by their sizes."""
    return [
        Document("ä" * size, f"{p}-{g}-{d}", "docs", f"group {p}-{g}", f"package {p}")
        for p, groups in enumerate(shape)
        for g, sizes in enumerate(groups)
        for d, size in enumerate(sizes)
    ]


shapes = st.lists(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=2), min_size=1, max_size=5), max_size=8
)


@given(shapes, st.integers(0, 200))
@example([[[4], [4], [9]], [[1], [1], [1], [1]]], 26)
@example([[[4], [9], [4]], [[1], [1], [1], [1]]], 26)
@example([[[9], [4], [4]], [[1], [1], [1], [1]]], 26)
def test_a_stream_gives_what_taking_turns_gives(shape, max_bytes):
    documents = packages_of(shape)
    assert within(iter(documents), max_bytes) == all_at_once(documents, max_bytes)


@given(shapes, st.integers(0, 100), st.integers(0, 100))
def test_a_smaller_budget_takes_a_subset(shape, a, b):
    smaller, larger = (within(packages_of(shape), max_bytes) for max_bytes in sorted((a, b)))
    assert {document.source for document in smaller} <= {document.source for document in larger}


@given(st.lists(st.sampled_from("abc"), max_size=12), st.integers(0, 30))
def test_a_group_may_come_again(names, max_bytes):
    """As articles of one title do."""
    documents = [Document("text", name, "docs", name) for name in names]
    assert within(documents, max_bytes) == all_at_once(documents, max_bytes)


@pytest.mark.parametrize("package", ["{}", "one"])
def test_what_is_left_is_not_kept(package):
    alive, most = weakref.WeakSet(), 0

    def stream():
        nonlocal most
        for number in range(2000):
            document = Document("x" * 100, str(number), "docs", str(number), package.format(number))
            alive.add(document)
            most = max(most, len(alive))
            yield document

    assert len(within(stream(), 1000)) == 10
    assert most <= 10 + 3  # and those on their way
