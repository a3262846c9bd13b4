"""Training batches are a pure function of (seed, step); evaluation predicts every token exactly once."""

import contextlib
import tempfile
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from data.batches import TrainBatches, batch_of_chunks, evaluation_batches, evaluation_documents
from data.documents import Document
from data.token_store import CHUNK, TokenStore, write_token_store
from errors import InputError
from tests.data.byte_tokenizer import ByteTokenizer

sides = st.lists(
    st.tuples(st.sampled_from([0, 1, 62, 63, 64, 126, 127]) | st.integers(0, 400), st.booleans()),
    min_size=1,
    max_size=8,
)
batch_sizes, num_chunks = st.integers(1, 5), st.integers(1, 4)


@contextlib.contextmanager
def store_of(sides, packages=None):
    """A store of documents of the given lengths, held out where True, no two of them alike, each of a package
    of its own where none are given.
    """
    packages = packages or [f"doc{d}" for d in range(len(sides))]
    random = np.random.default_rng(0)
    texts = ["".join(map(chr, random.integers(32, 127, length))) for length, _ in sides]
    documents = [
        Document(text, f"doc{d}", "docs", f"doc{d}", package)
        for d, (text, package) in enumerate(zip(texts, packages))
    ]
    is_validation = np.array([side for _, side in sides])
    with tempfile.TemporaryDirectory() as folder:
        write_token_store(folder, documents, ByteTokenizer(), np.arange(len(sides)), is_validation)
        yield TokenStore(folder)


def assert_equal(a, b):
    for name in ("tokens", "targets", "weights", "chunks"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def assert_well_formed(store, batch, batch_size, length):
    """Tokens are the chunks' tokens, and targets the next tokens of the same document."""
    assert batch.tokens.shape == batch.targets.shape == batch.weights.shape == (batch_size, length)
    assert batch.chunks.shape == (batch_size, length // CHUNK)
    assert batch.tokens.dtype == batch.targets.dtype == np.int32
    assert batch.weights.dtype == np.float32 and batch.chunks.dtype == np.int64
    np.testing.assert_array_equal(store.chunk_tokens(batch.chunks).reshape(batch_size, length), batch.tokens)
    for b, chunk in np.ndindex(batch.chunks.shape):
        here = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        weights, targets = batch.weights[b, here], batch.targets[b, here]
        if batch.chunks[b, chunk] < 0:
            assert not weights.any()
            continue
        d = store.chunk_documents(batch.chunks[b, chunk])
        start = (batch.chunks[b, chunk] - store.chunk_offsets[d]) * CHUNK
        following = store.document_tokens(d)[start + 1 : start + 1 + CHUNK]
        np.testing.assert_array_equal(weights, np.arange(CHUNK) < len(following))
        np.testing.assert_array_equal(targets[: len(following)], following)


def has_training_text(sides, chunks):
    return sum(-(-(length + 2) // CHUNK) for length, side in sides if not side) >= chunks


@settings(max_examples=40)
@given(sides, batch_sizes, num_chunks, st.integers(0, 3), st.permutations(range(6)))
def test_a_batch_is_a_pure_function_of_seed_and_step(sides, batch_size, chunks, seed, steps):
    with store_of(sides) as store:
        assume(has_training_text(sides, chunks))
        in_order = TrainBatches(store, batch_size, chunks * CHUNK, seed)
        expected = [in_order(step) for step in range(6)]
        shuffled = TrainBatches(store, batch_size, chunks * CHUNK, seed)
        for step in steps:
            assert_equal(shuffled(step), expected[step])
            assert_well_formed(store, expected[step], batch_size, chunks * CHUNK)


@settings(max_examples=40)
@given(sides, num_chunks, st.integers(0, 3))
def test_every_training_chunk_once_per_epoch_and_no_other(sides, chunks, seed):
    with store_of(sides) as store:
        assume(has_training_text(sides, chunks))
        batches = TrainBatches(store, 1, chunks * CHUNK, seed)
        every_chunk = np.arange(store.chunk_offsets[-1])
        training = every_chunk[~store.is_validation[store.chunk_documents(every_chunk)]]
        for epoch in range(3):
            steps = range(epoch * batches.sequences_per_epoch, (epoch + 1) * batches.sequences_per_epoch)
            seen = np.concatenate([batches(step).chunks.reshape(-1) for step in steps])
            np.testing.assert_array_equal(np.sort(seen[seen >= 0]), training)


@given(batch_sizes)
def test_batch_size_only_regroups_the_sequences(batch_size):
    with store_of([(500, False), (90, False), (10, True), (1000, False)]) as store:
        single, grouped = TrainBatches(store, 1, 128, 0), TrainBatches(store, batch_size, 128, 0)
        expected = np.concatenate([single(step).tokens for step in range(4 * batch_size)])
        np.testing.assert_array_equal(np.concatenate([grouped(step).tokens for step in range(4)]), expected)


def test_seeds_and_epochs_differ_in_order():
    with store_of([(300, False)] * 20) as store:
        batches, other = TrainBatches(store, 4, 128, 0), TrainBatches(store, 4, 128, 1)
        later = batches.sequences_per_epoch // 4 + 1
        assert not np.array_equal(batches(0).chunks, other(0).chunks)
        assert not np.array_equal(batches(0).chunks, batches(later).chunks)


def test_chunks_of_a_document_follow_each_other_within_a_sequence():
    with store_of([(CHUNK * 6 - 2, False)]) as store:
        chunks = TrainBatches(store, 3, 2 * CHUNK, 0)(0).chunks
        np.testing.assert_array_equal(chunks[:, 1], chunks[:, 0] + 1)


@settings(max_examples=60)
@given(sides, batch_sizes, num_chunks, st.integers(0, 3))
def test_evaluation_predicts_every_token_after_bos_once(sides, batch_size, chunks, overlap):
    """In the first window that holds it, so that at least length − stride tokens stand before it, or all."""
    with store_of(sides) as store:
        length = chunks * CHUNK
        stride = length - CHUNK * min(overlap, chunks - 1)
        assume(sum(n + 1 for n, side in sides if side) >= length)
        predicted = Counter()
        for batch, documents in evaluation_batches(store, batch_size, length, stride=stride):
            assert_well_formed(store, batch_of_chunks(store, batch.chunks), batch_size, length)
            assert documents.shape == batch.tokens.shape and documents.dtype == np.int64
            inside = store.window(batch.chunks, CHUNK)[1].reshape(documents.shape)
            np.testing.assert_array_equal(documents >= 0, inside)
            for b, t in np.argwhere(batch.weights > 0):
                chunk = batch.chunks[b, t // CHUNK]
                position = (chunk - store.chunk_offsets[documents[b, t]]) * CHUNK + t % CHUNK + 1
                assert store.document_tokens(documents[b, t])[position] == batch.targets[b, t]
                predicted[documents[b, t], position] += 1
                assert t + 1 > length - stride or position == t + 1
        due = {(d, i) for d, (n, side) in enumerate(sides) if side for i in range(1, n + 2)}
        assert set(predicted) == due and set(predicted.values()) == {1}


def test_windows_start_at_multiples_of_the_length_and_hold_one_document():
    with store_of([(1000, True), (5, True), (300, False)]) as store:
        for batch, documents in evaluation_batches(store, 2, 128):
            for row, chunks in zip(documents, batch.chunks):
                owners = set(row[row >= 0])
                assert len(owners) <= 1
                for d in owners:
                    assert (chunks[0] - store.chunk_offsets[d]) % 2 == 0


def test_evaluation_order_is_fixed_and_max_tokens_takes_whole_documents():
    with store_of([(40 * d, True) for d in range(12)]) as store:
        every = np.concatenate([documents for _, documents in evaluation_batches(store, 2, 64)])
        again = np.concatenate([documents for _, documents in evaluation_batches(store, 2, 64)])
        np.testing.assert_array_equal(every, again)
        batches = list(evaluation_batches(store, 2, 64, max_tokens=1200))
        weights = sum(batch.weights.sum() for batch, _ in batches)
        taken = set(np.concatenate([documents.reshape(-1) for _, documents in batches])) - {-1}
        predicted = np.diff(store.offsets) - 1
        assert 0 < weights <= 1200 and weights == sum(predicted[d] for d in taken)
        share = max(2 * 1200 / 12, np.median(predicted))
        assert max(predicted[d] for d in taken) <= share, "no package takes more than twice an even share"
        assert (
            evaluation_documents(store, int(predicted.sum())).tolist() == evaluation_documents(store).tolist()
        )


def test_packages_take_turns_in_evaluation():
    """One of many documents and three of two each: the first has no more than twice an even share."""
    packages = ["many"] * 10 + ["a"] * 2 + ["b"] * 2 + ["c"] * 2
    with store_of([(100, True)] * 16, packages) as store:
        predicted = np.diff(store.offsets)[0] - 1
        taken = [store.packages[d] for d in evaluation_documents(store, 8 * predicted)]
        assert set(taken[:4]) == set(packages)
        assert {package: taken.count(package) for package in set(packages)} == {
            "many": 2,
            "a": 2,
            "b": 2,
            "c": 2,
        }
        assert len(evaluation_documents(store, 12 * predicted)) == 12


def test_rows_are_those_of_the_whole_batch_and_tokens_are_counted_unread():
    rows = np.array([1, 3])
    with store_of([(300 * d, d % 3 == 0) for d in range(1, 10)]) as store:
        whole = TrainBatches(store, 4, 2 * CHUNK, 0)
        some = TrainBatches(store, 4, 2 * CHUNK, 0, rows)
        for step in range(12):  # over an epoch's end
            assert_equal(some(step), batch_of_chunks(store, whole(step).chunks[rows]))
            assert some.predicted_tokens(step) == whole(step).weights.sum()
        evaluated = [evaluation_batches(store, 4, 2 * CHUNK, rows=chosen) for chosen in (None, rows)]
        for (batch, documents), (part, part_documents) in zip(*evaluated, strict=True):
            assert_equal(part, batch_of_chunks(store, batch.chunks[rows]))
            np.testing.assert_array_equal(part_documents, documents[rows])


def test_what_is_too_short_says_so():
    with store_of([(100, False), (50, True)]) as store:
        with pytest.raises(InputError, match=r"2 chunks of 64 tokens.*512 tokens \(8 chunks\).*larger"):
            TrainBatches(store, 2, 512, 0)
        with pytest.raises(InputError, match=r"51 tokens to predict.*sequence of 64"):
            evaluation_batches(store, 2, 64)
        with pytest.raises(InputError, match="100 is not a multiple"):
            TrainBatches(store, 2, 100, 0)
        for stride in (0, 32, 192):
            with pytest.raises(InputError, match=f"128 tokens cannot start every {stride} .*multiple of 64"):
                evaluation_batches(store, 2, 128, stride=stride)
    with store_of([(100, False), (500, True)]) as store:
        with pytest.raises(InputError, match="into 20 tokens: the shortest holds 501 .*--evaluation-tokens"):
            evaluation_batches(store, 2, 64, max_tokens=20)
