"""Near duplicates, which the split into training and validation never parts.

MassiveText (Gopher, Appendix A) and RETRO (Section 2) compare documents by the Jaccard similarity of their
sets of 13 successive words, estimated by MinHash, and call them duplicates from 0.8 on. Here the sets
themselves are compared, and every pair is found (`data.near_duplicates`).

Shapes: D documents. A shingle is 13 successive words (a shorter document is one shingle of all its words);
words are runs of letters, digits and underscores in lower case.
"""

from collections.abc import Sequence

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from data.documents import Document
from data.near_duplicates import merge_similar
from data.ngrams import shingles_of_all
from progress import bar

JACCARD_THRESHOLD = 0.8


def duplicate_groups(documents: Sequence[Document]) -> np.ndarray:
    """int64 [D]: equal for documents that must fall on the same side of the split.

    Those are documents that declare the same group, are equal, or have a Jaccard similarity of at least 0.8,
    and whatever these relations link in turn. A group's id is the index of its first document.
    """
    sets = DisjointSet(range(len(documents)))
    first_with = {}
    for d, document in enumerate(documents):
        for key in (("group", document.group), ("text", document.text)):
            sets.merge(first_with.setdefault(key, d), d)
    distinct = [d for d, document in enumerate(documents) if first_with["text", document.text] == d]
    _merge_near_duplicates(sets, documents, distinct)
    first = {}
    return np.array([first.setdefault(sets[d], d) for d in range(len(documents))], np.int64)


def _merge_near_duplicates(sets: DisjointSet, documents: Sequence[Document], distinct: Sequence[int]) -> None:
    shingles = shingles_of_all([documents[d].text for d in distinct], "words of all documents")
    of_words = {
        d: own for d, own in zip(distinct, shingles) if len(own)
    }  # the others are no one's duplicates
    with bar("near duplicates", len(of_words), "document") as progress:
        merge_similar(sets, [*of_words], [*of_words.values()], JACCARD_THRESHOLD, progress.update)
