"""Batches as a pure function of (seed, step), and the fixed order in which held-out documents are evaluated.

Every model sees the same tokens at the same step, on any mesh and after any resume, because nothing is kept
between calls. Sequences are made of whole chunks, so that neighbours can be looked up by the chunk's id.

Shapes: B sequences, T tokens of a sequence, U = T/64 chunks of a sequence, S sequences of an epoch.
"""

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data.documents import in_turns
from data.token_store import CHUNK, TokenStore
from errors import InputError

PADDING_CHUNK = -1


@dataclass(frozen=True)
class Batch:
    """B sequences of T tokens.

    Attributes:
        tokens: int32 [B, T].
        targets: int32 [B, T], the next token of the same document.
        weights: float32 [B, T], 0 where there is no target: on padding and on a document's last token.
        chunks: int64 [B, T//64], global chunk ids, -1 for a chunk of padding.
    """

    tokens: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    chunks: np.ndarray


class TrainBatches:
    """`TrainBatches(...)(step)` is the batch of that step, whatever was asked for before: of its `batch_size`
    sequences those in `rows` (default: all), and nothing of the others is read.

    In each epoch the training documents are permuted and their chunks laid end to end, every document from
    the start of a chunk on, so that its last chunk is padded. The row is cut into sequences, and these are
    permuted. Steps run on through the epochs: a batch may hold the last sequences of one and the first of the
    next.

    Attention does not stop where one document of a row ends and the next begins, nor at the padding between
    them, which is never predicted: PaLM's practice (section 5), though its rows hold no padding. What is
    evaluated is read by itself, a document at a time. Of a chunk's neighbours see retrieval.neighbours.

    Raises:
        InputError: the length is no multiple of 64, or the training documents do not fill one sequence.
    """

    def __init__(
        self, store: TokenStore, batch_size: int, length: int, seed: int, rows: np.ndarray | None = None
    ):
        training = ~store.is_validation
        num_chunks = int(store.num_chunks[training].sum())
        chunks_per_sequence = _chunks_per_sequence(length)
        if num_chunks < chunks_per_sequence:
            raise InputError(
                f"The {training.sum()} training documents hold {num_chunks} chunks of {CHUNK} tokens, less "
                f"than one sequence of {length} tokens ({chunks_per_sequence} chunks). Give a larger "
                "--corpus (or --corpus-bytes) or a shorter --length."
            )
        self.sequences_per_epoch = -(-num_chunks // chunks_per_sequence)
        self._store = store
        self._batch_size = batch_size
        self._rows = np.arange(batch_size) if rows is None else rows
        self._epoch = functools.lru_cache(maxsize=2)(
            functools.partial(epoch_sequences, store, chunks_per_sequence, seed)
        )

    def __call__(self, step: int) -> Batch:
        return batch_of_chunks(self._store, self._chunks(step, self._rows))

    def predicted_tokens(self, step: int) -> int:
        """Σ of weights over the whole batch of that step, counted without reading it."""
        chunks = self._chunks(step, np.arange(self._batch_size))
        documents = self._store.chunk_documents(chunks)
        starts = (chunks - self._store.chunk_offsets[documents]) * CHUNK
        left = np.diff(self._store.offsets)[documents] - 1 - starts
        return int(np.where(chunks < 0, 0, np.clip(left, 0, CHUNK)).sum())

    def _chunks(self, step: int, rows: np.ndarray) -> np.ndarray:
        """int64 [rows, U]: the chunk ids of some sequences of a batch."""
        epochs, sequences = np.divmod(step * self._batch_size + rows, self.sequences_per_epoch)
        return np.stack([self._epoch(int(epoch))[s] for epoch, s in zip(epochs, sequences)])


def epoch_sequences(store: TokenStore, chunks_per_sequence: int, seed: int, epoch: int) -> np.ndarray:
    """int64 [S, U]: the global chunk ids of all sequences of an epoch; the row's end is padded with -1."""
    random = np.random.default_rng([seed, epoch])
    documents = random.permutation(np.flatnonzero(~store.is_validation))
    chunks = _ranges(store.chunk_offsets[documents], store.num_chunks[documents])
    padding = np.full(-len(chunks) % chunks_per_sequence, PADDING_CHUNK)
    return random.permutation(np.concatenate([chunks, padding]).reshape(-1, chunks_per_sequence))


def batch_of_chunks(store: TokenStore, chunks: np.ndarray) -> Batch:
    """The batch of sequences made of the given chunks [B, U]."""
    window, inside = store.window(chunks, CHUNK + 1)
    flat = lambda array: array.reshape(len(chunks), -1)
    return Batch(
        tokens=flat(window[..., :-1]),
        targets=flat(window[..., 1:]),
        weights=flat(inside[..., 1:]).astype(np.float32),
        chunks=chunks,
    )


def evaluation_batches(
    store: TokenStore,
    batch_size: int,
    length: int,
    max_tokens: int | None = None,
    rows: np.ndarray | None = None,
    stride: int | None = None,
) -> Iterator[tuple[Batch, np.ndarray]]:
    """The documents of `evaluation_documents`, each read in windows of `length` that start every `stride`
    tokens (default: side by side).

    Every token after bos is predicted exactly once, given the tokens before it in the first window that holds
    it: where windows overlap, all but a document's first predict their last `stride` tokens alone. RETRO
    strides by 1024 of 2048 (its leakage protocol, section 2.6). Side by side, tokens at a window's start have
    no context, and its first 63 never have a neighbour, 12 % of 512: bits per byte are too high and what
    neighbours give is understated, for all models alike. Of every batch only `rows` are read (default: all).

    Returns:
        An iterator of (batch, documents int64 [B, T]): the document of every token, -1 on padding. The last
        batch is filled up with padding.

    Raises:
        InputError: the length is no multiple of 64, nor is the stride, or it is longer; or the documents
            predict fewer tokens than `length`.
    """
    chunks_per_sequence = _chunks_per_sequence(length)
    stride = _stride(length, stride)
    predicted = int((np.diff(store.offsets)[store.is_validation] - 1).sum())
    if predicted < length:
        raise InputError(
            f"The {store.is_validation.sum()} held-out documents hold {predicted} tokens to predict, less "
            f"than one sequence of {length}. Give a larger --corpus (or --corpus-bytes) or a shorter "
            "--length."
        )
    documents = evaluation_documents(store, max_tokens)
    windows = np.concatenate([_windows(store, d, chunks_per_sequence, stride // CHUNK) for d in documents])
    padding = np.full((-len(windows) % batch_size, chunks_per_sequence), PADDING_CHUNK)
    batches = np.concatenate([windows, padding]).reshape(-1, batch_size, chunks_per_sequence)
    if rows is not None:
        batches = batches[:, rows]
    return (
        (_predicting_once(store, batch_of_chunks(store, chunks), stride), _document_of_tokens(store, chunks))
        for chunks in batches
    )


def evaluation_documents(store: TokenStore, max_tokens: int | None = None) -> np.ndarray:
    """int64 [D]: validation documents in a fixed order, in which packages take turns.

    Where they hold more than `max_tokens` to predict, a document is passed over if it would take more than is
    left, or its package more than twice an even share, or than half the documents hold where that is more:
    verdicts count packages, and none is to carry them. So long documents are evaluated less often than short
    ones.

    Raises:
        InputError: no document fits.
    """
    documents = np.flatnonzero(store.is_validation)
    packages = [store.packages[d] for d in documents]
    documents = documents[in_turns([store.sources[d] for d in documents], packages)]
    predicted = np.diff(store.offsets) - 1
    if max_tokens is None or predicted[documents].sum() <= max_tokens:
        return documents
    share = max(2 * max_tokens / len(set(packages)), float(np.median(predicted[documents])))
    taken, kept = Counter(), []
    for d in documents:
        package = taken[store.packages[d]] + predicted[d]
        if package <= share and taken.total() + predicted[d] <= max_tokens:
            taken[store.packages[d]] = package
            kept.append(d)
    if not kept:
        raise InputError(
            f"No held-out document fits into {max_tokens} tokens: the shortest holds "
            f"{predicted[documents].min()} to predict, and a package may take {share:.0f}. Give more "
            "--evaluation-tokens."
        )
    return np.array(kept)


def _windows(store: TokenStore, document: int, chunks_per_sequence: int, stride: int) -> np.ndarray:
    """int64 [windows, U]: the document's chunks that hold something to predict from; stride: in chunks."""
    predicted = store.offsets[document + 1] - store.offsets[document] - 1
    num_chunks = -(-predicted // CHUNK)
    further = max(0, -(-(num_chunks - chunks_per_sequence) // stride))  # windows beyond the first
    starts = stride * np.arange(1 + further if num_chunks else 0)
    within = starts[:, None] + np.arange(chunks_per_sequence)
    return np.where(within < num_chunks, store.chunk_offsets[document] + within, PADDING_CHUNK)


def _predicting_once(store: TokenStore, batch: Batch, stride: int) -> Batch:
    """The batch of windows without the weights of what the window before has predicted."""
    first = batch.chunks[:, 0]
    further = first > store.chunk_offsets[store.chunk_documents(first)]
    before = np.arange(batch.weights.shape[1]) < batch.weights.shape[1] - stride
    return dataclasses.replace(
        batch, weights=np.where(further[:, None] & before, np.float32(0), batch.weights)
    )


def _document_of_tokens(store: TokenStore, chunks: np.ndarray) -> np.ndarray:
    """int64 [B, T]."""
    inside = store.window(chunks, CHUNK)[1]
    documents = np.where(inside, store.chunk_documents(chunks)[..., None], -1)
    return documents.reshape(len(chunks), -1)


def _chunks_per_sequence(length: int) -> int:
    if length <= 0 or length % CHUNK:
        raise InputError(f"The sequence length {length} is not a multiple of the chunk of {CHUNK} tokens.")
    return length // CHUNK


def _stride(length: int, stride: int | None) -> int:
    if stride is None:
        return length
    if not 0 < stride <= length or stride % CHUNK:
        raise InputError(
            f"Windows of {length} tokens cannot start every {stride} tokens: give a multiple of {CHUNK}, at "
            "most their length."
        )
    return stride


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Concatenates arange(start, start + count) of all pairs."""
    first = np.repeat(starts - np.cumsum(counts) + counts, counts)
    return first + np.arange(counts.sum())
