"""Bits per byte of held-out documents: a loss that does not depend on the tokenizer."""

import numpy as np

from data.token_store import TokenStore


def document_nats(nats_st: np.ndarray, documents_st: np.ndarray, num_documents: int) -> np.ndarray:
    """Sums a model's loss per document.

    Args:
      nats_st: [S, T] losses of evaluated tokens, zero where nothing is predicted.
      documents_st: int64 [S, T], the document of each token, −1 on padding.
    Returns: float64 [num_documents], zero for documents that were not evaluated.
    """
    inside = documents_st >= 0
    return np.bincount(documents_st[inside], nats_st[inside].astype(np.float64), minlength=num_documents)


def bits_per_byte(nats: float | np.ndarray, num_bytes: float | np.ndarray) -> float:
    """Σ nats / ln 2 / Σ bytes."""
    return float(np.sum(nats) / np.log(2) / np.sum(num_bytes))


def unigram_nats(store: TokenStore, documents: np.ndarray) -> np.ndarray:
    """Loss per document of a unigram model fitted on the training tokens with add-one smoothing: the line to
    be well below.

    Args:
      documents: int64 [D] of validation documents.
    Returns: float64 [D]; like the models, it is not charged for the first token (bos).
    """
    counts = np.ones(store.vocab_size, np.float64)
    for document in np.flatnonzero(~store.is_validation):
        counts += np.bincount(store.document_tokens(document)[1:], minlength=store.vocab_size)
    nats_v = -np.log(counts / counts.sum())
    return np.array([nats_v[store.document_tokens(document)[1:]].sum() for document in documents])
