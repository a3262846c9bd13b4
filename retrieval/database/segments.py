"""Several token stores read as one: documents that come later have later chunk ids, and no id changes."""

from collections.abc import Sequence

import numpy as np

from data.token_store import CHUNK, TokenStore

# The column of a store by which equal texts of different segments are known.
TEXT_HASH = "text_hash"


class Segments:
    """The documents of `stores` in order, under running numbers, and so their chunks.

    It answers as a `TokenStore` does: num_documents D, num_chunks and groups int64 [D], chunk_offsets int64
    [D+1], sources, domains and packages (D strings), pad_id, bos_id, eos_id, and the methods below. A
    document with the text of an earlier segment's brings its group into that one's.

    Raises:
        InputError: a store is missing or damaged.
    """

    def __init__(self, stores: Sequence[TokenStore]):
        self.stores = tuple(stores)
        self.sources = tuple(source for store in stores for source in store.sources)
        self.domains = tuple(domain for store in stores for domain in store.domains)
        self.packages = tuple(package for store in stores for package in store.packages)
        self.num_documents = len(self.sources)
        self.pad_id, self.bos_id, self.eos_id = stores[0].pad_id, stores[0].bos_id, stores[0].eos_id
        self.num_chunks = np.concatenate([store.num_chunks for store in stores])
        self.chunk_offsets = _bounds(self.num_chunks)
        self.first_documents = _bounds([store.num_documents for store in stores])
        self.first_chunks = _bounds([store.chunk_offsets[-1] for store in stores])
        self.groups = self._groups()

    def document_tokens(self, document: int) -> np.ndarray:
        """int32 [tokens of the document], as `TokenStore.document_tokens`."""
        segment = int(np.searchsorted(self.first_documents, document, side="right")) - 1
        return self.stores[segment].document_tokens(document - self.first_documents[segment])

    def chunk_documents(self, ids: np.ndarray) -> np.ndarray:
        """int64 [...]: the document of each chunk, -1 for the padding chunk -1."""
        return np.searchsorted(self.chunk_offsets, ids, side="right") - 1

    def document_chunks(self, documents: Sequence[int]) -> np.ndarray:
        """int64 [chunks]: the ids of all chunks of these documents."""
        ranges = [np.arange(self.chunk_offsets[d], self.chunk_offsets[d + 1]) for d in documents]
        return np.concatenate([np.zeros(0, np.int64), *ranges])

    def chunk_tokens(self, ids: np.ndarray) -> np.ndarray:
        """int32 [..., 64], as `TokenStore.chunk_tokens`."""
        return self.window(ids, CHUNK)[0]

    def window(self, ids: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """(tokens int32 [..., length], inside bool [..., length]), as `TokenStore.window`."""
        ids = np.asarray(ids, np.int64)
        tokens = np.full([*ids.shape, length], self.pad_id, np.int32)
        inside = np.zeros([*ids.shape, length], bool)
        for store, first, end in zip(self.stores, self.first_chunks, self.first_chunks[1:]):
            here = (ids >= first) & (ids < end)
            tokens[here], inside[here] = store.window(ids[here] - first, length)
        return tokens, inside

    def _groups(self) -> np.ndarray:
        group_of_text, groups = {}, [np.zeros(0, np.int64)]
        for store, first in zip(self.stores, self.first_documents):
            texts, own = store.column(TEXT_HASH).tolist(), (first + store.groups).tolist()
            earlier = {group: group_of_text[text] for text, group in zip(texts, own) if text in group_of_text}
            groups.append(np.array([earlier.get(group, group) for group in own], np.int64))
            group_of_text |= dict(zip(texts, groups[-1].tolist()))
        return np.concatenate(groups)


def _bounds(counts: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
