"""Near duplicates, which the split into training and validation never parts.

MassiveText (Gopher, Appendix A) and RETRO (Section 2) compare documents by the Jaccard similarity of their
sets of 13 successive words, with MinHash, and call them duplicates from 0.8 on. Candidates found by MinHash
are verified here on the sets themselves, so that the threshold is exact.

Shapes: D documents. A shingle is 13 successive words (a shorter document is one shingle of all its words);
words are runs of letters, digits and underscores in lower case.
"""

from collections.abc import Sequence

import numpy as np
from datasketch import MinHash, MinHashLSH
from scipy.cluster.hierarchy import DisjointSet

from data.documents import Document
from data.ngrams import jaccard, shingles_of

JACCARD_THRESHOLD = 0.8
NUM_PERMUTATIONS = 128
# 32 bands of 4: a pair at the threshold becomes a candidate with probability 1 - (1 - 0.8^4)^32 = 1 - 5e-8.
BANDS = (32, 4)


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
    _merge_near_duplicates(sets, {d: shingles_of(documents[d].text) for d in distinct})
    first = {}
    return np.array([first.setdefault(sets[d], d) for d in range(len(documents))], np.int64)


def _merge_near_duplicates(sets: DisjointSet, shingles: dict[int, np.ndarray]) -> None:
    index = MinHashLSH(num_perm=NUM_PERMUTATIONS, params=BANDS)
    for d, own in shingles.items():
        if not len(own):
            continue
        signature = MinHash(NUM_PERMUTATIONS, seed=1, hashfunc=int, scheme="affine64")
        signature.update_batch(own)
        for other in index.query(signature):
            if not sets.connected(d, other) and jaccard(own, shingles[other]) >= JACCARD_THRESHOLD:
                sets.merge(d, other)
        index.insert(d, signature)
