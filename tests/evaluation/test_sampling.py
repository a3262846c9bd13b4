"""What is drawn follows the plain definition of nucleus sampling, and what is generated follows the model."""

import dataclasses
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evaluation import sampling
from evaluation.sampling import Sampling, generate, next_token, nucleus, prompt_keys, steps
from models.decoder import Neighbours
from retrieval.database.live import Retrieved
from tests.models.small import K, M, R, initialised, small

TOLERANCE = 1e-5  # absolute, on nats of order ten: a cached step against the whole, in float32
LETTERS = "abcdefghijklmnop"


class PairTokenizer:
    """Every token that is not special is two letters, so that a stop string can straddle them."""

    pad_id, unk_id, bos_id, eos_id = range(4)

    def decode(self, ids):
        return "".join(LETTERS[i // 16 % 16] + LETTERS[i % 16] for i in map(int, ids) if i > self.eos_id)


def plain_nucleus(weights, top_p):
    """Probabilities, exact: the likeliest tokens up to the one that reaches top_p, renormalised."""
    total, reached = sum(weights), Fraction(0)
    kept = [Fraction(0)] * len(weights)
    for i in sorted(range(len(weights)), key=lambda i: -weights[i]):
        kept[i] = Fraction(weights[i], total)
        reached += kept[i]
        # Sums in float32 may fall on either side of a bound they should meet.
        assume(abs(reached - Fraction(top_p)) > 1e-4)
        if reached > top_p:
            break
    return np.array([float(p / reached) for p in kept])


weights = st.lists(st.integers(1, 50), min_size=6, max_size=6)
few = settings(max_examples=25)  # each compiles: top_p is a constant of the program


@few
@given(rows=st.tuples(weights, weights), top_p=st.floats(0.01, 0.99))
def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(rows, top_p):
    kept = jax.nn.softmax(nucleus(jnp.log(jnp.array(rows, jnp.float32)), top_p))
    expected = np.array([plain_nucleus(row, top_p) for row in rows])
    np.testing.assert_array_equal(kept > 0, expected > 0)
    np.testing.assert_allclose(kept, expected, rtol=0, atol=1e-6)


@few
@given(rows=st.tuples(weights, weights), top_p=st.floats(1e-30, 0.01))
def test_one_token_is_always_left(rows, top_p):
    kept = np.isfinite(nucleus(jnp.log(jnp.array(rows, jnp.float32)), top_p))
    assert (kept.sum(axis=1) == 1).all() and (kept.argmax(axis=1) == np.argmax(rows, axis=1)).all()


def test_top_p_1_leaves_everything():
    logits = jnp.array([[0.0, -60.0, 30.0]])  # beyond what a running sum in float32 can tell from 1
    np.testing.assert_array_equal(nucleus(logits, 1.0), logits)


@few
@given(
    rows=st.tuples(weights, weights),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    top_p=st.one_of(st.just(1.0), st.floats(0.01, 0.99)),
    seed=st.integers(0, 99),
)
def test_a_token_is_drawn_from_the_plain_distribution(rows, temperature, top_p, seed):
    """The same key draws the same from exact probabilities: a draw is a function of both."""
    keys = prompt_keys(seed, 2)
    logits = temperature * jnp.log(jnp.array(rows, jnp.float32)) + jnp.array([[7.0], [-3.0]])
    exact = np.array(rows) if top_p == 1 else np.array([plain_nucleus(row, top_p) for row in rows])
    with np.errstate(divide="ignore"):
        expected = jax.vmap(jax.random.categorical)(keys, jnp.asarray(np.log(exact), jnp.float32))
    np.testing.assert_array_equal(next_token(logits, keys, temperature, top_p), expected)


@pytest.mark.parametrize("temperature", [0.0, 1e-45, 1e-9])
def test_no_temperature_takes_the_likeliest(temperature):
    logits = jnp.array(np.random.default_rng(0).normal(size=(5, 100)), jnp.float32) * 50
    drawn = next_token(logits, prompt_keys(0, 5), temperature, 0.9)
    np.testing.assert_array_equal(drawn, logits.argmax(axis=1))


def test_a_prompts_key_does_not_depend_on_how_many_there_are():
    assert (prompt_keys(3, 2) == prompt_keys(3, 5)[:2]).all()
    assert len(set(map(str, jax.random.key_data(prompt_keys(3, 5))))) == 5


@given(known=st.integers(1, 400), more=st.integers(0, 150), chunk=st.sampled_from([None, 64]))
def test_steps_read_every_position_once_and_respect_attending_chunks(known, more, chunk):
    pieces = list(steps(known, known + more, chunk))
    assert [position for piece in pieces for position in range(*piece)] == list(range(known + more))
    for start, stop in pieces:
        assert stop - start in sampling.STEPS and (stop <= known or stop == start + 1)
        if chunk:
            assert (start + 1) // 64 == stop // 64
            assert (start + 1) % 64 or stop - start in (1, 64)
    assert len(pieces) <= known // 64 + 30 + more


def retrieve(chunks_bm):
    """Neighbours that follow from the chunk alone; the first of some is missing."""
    rows = [np.random.default_rng(chunk) for chunk in chunks_bm]
    mask = np.stack([np.full((K, R), True) for _ in rows])
    mask[chunks_bm[:, 0] % 2 == 0, 0] = False
    return Retrieved(
        ids=np.stack([rng.integers(0, 99, K) for rng in rows]),
        distances=np.stack([rng.random(K, np.float32) for rng in rows]),
        tokens=np.stack([rng.integers(0, 1024, (K, R), np.int32) for rng in rows]),
        mask=mask,
    )


def prompts(*lengths):
    """Random prompts behind bos."""
    rng = np.random.default_rng(len(lengths))
    return [np.append(PairTokenizer.bos_id, rng.integers(4, 1024, n - 1)).astype(np.int32) for n in lengths]


def run(family, texts, options, keys=None, seed=0, tokenizer=None, retrieve=retrieve):
    model, params = initialised(small(family))
    return generate(
        model, params, tokenizer or PairTokenizer(), texts,
        prompt_keys(seed, len(texts)) if keys is None else keys,
        options, retrieve if family == "retro" else None,
    )  # fmt: skip


LENGTHS, NEW = (70, 1, 64), 66
SAMPLED = Sampling(NEW, top_p=0.9)


@pytest.fixture(scope="module", params=["palm", "retro"])
def sampled(request):
    """(family, rows) of one batch."""
    return request.param, run(request.param, prompts(*LENGTHS), SAMPLED, prompt_keys(5, 3))


def teacher_forced_nats(family, rows):
    """−log p [B, T, V] by one pass of the whole model over the rows, given what they retrieved."""
    model, params = initialised(small(family))
    length = max(len(row.tokens) for row in rows)
    tokens = np.stack([np.pad(row.tokens, (0, length - len(row.tokens))) for row in rows])
    neighbours = None
    if family == "retro":
        shape = (len(rows), length // M, K, R)
        neighbours = Neighbours(np.zeros(shape, np.int32), np.zeros(shape, bool))
        for b, row in enumerate(rows):
            assert len(row.retrieved) == (len(row.tokens) - 1) // M
            for u, near in enumerate(row.retrieved):
                neighbours.tokens[b, u], neighbours.mask[b, u] = near.tokens, near.mask
    return -jax.nn.log_softmax(jax.jit(model.apply)(params, tokens, neighbours))


def assert_teacher_forced(family, rows, greedy):
    for row, nats_tv in zip(rows, teacher_forced_nats(family, rows), strict=True):
        new = np.arange(row.prompt_tokens, len(row.tokens))
        assert len(new) == NEW == len(row.nats) and row.ended_by == "length"
        nats_tv = np.asarray(nats_tv)[new - 1]
        np.testing.assert_allclose(row.nats, nats_tv[np.arange(NEW), row.tokens[new]], rtol=0, atol=TOLERANCE)
        if greedy:
            np.testing.assert_allclose(row.nats, nats_tv.min(axis=1), rtol=0, atol=TOLERANCE)


def test_generation_is_the_teacher_forced_model_given_the_same_neighbours(sampled):
    assert_teacher_forced(*sampled, greedy=False)


def test_the_token_at_position_t_is_drawn_with_its_rows_key_folded_with_t(sampled):
    family, rows = sampled
    for row, key, nats_tv in zip(rows, prompt_keys(5, 3), teacher_forced_nats(family, rows), strict=True):
        new = np.arange(row.prompt_tokens, len(row.tokens))
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, new)
        np.testing.assert_array_equal(row.tokens[new], next_token(-nats_tv[new - 1], keys, 1.0, 0.9))


def test_greedy_choices_are_the_teacher_forced_models():
    rows = run("retro", prompts(*LENGTHS), Sampling(NEW, temperature=0))
    assert_teacher_forced("retro", rows, greedy=True)


def test_a_row_does_not_depend_on_the_rest_of_its_batch(sampled):
    """In another order, and among others of whose prompts more, or less, is read at once."""
    family, rows = sampled
    texts, keys = prompts(*LENGTHS), prompt_keys(5, 3)
    for chosen in ([2, 1, 0], [0, 2, 0]):
        again = run(family, [texts[i] for i in chosen], SAMPLED, keys[np.array(chosen)])
        for i, row in zip(chosen, again, strict=True):
            np.testing.assert_array_equal(row.tokens, rows[i].tokens)
            np.testing.assert_allclose(row.nats, rows[i].nats, rtol=0, atol=TOLERANCE)
            for one, other in zip(row.retrieved, rows[i].retrieved, strict=True):
                np.testing.assert_array_equal(one.tokens, other.tokens)


def test_another_seed_is_another_text_and_the_same_seed_the_same():
    first, again, other = (run("palm", prompts(2, 9), Sampling(20), seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.tokens, again.tokens)
    assert (first.tokens != other.tokens).any()


def test_eos_ends_a_row():
    whole = run("palm", prompts(2, 9), Sampling(20))
    tokenizer = PairTokenizer()
    tokenizer.eos_id = int(whole[0].tokens[2 + 7])
    ended, other = run("palm", prompts(2, 9), Sampling(20), tokenizer=tokenizer)
    at = whole[0].tokens[2:].tolist().index(tokenizer.eos_id)
    np.testing.assert_array_equal(ended.tokens, whole[0].tokens[: 2 + at + 1])
    assert ended.ended_by == "eos" and len(ended.nats) == at + 1
    assert tokenizer.eos_id in whole[1].tokens[9:] or other.ended_by == "length"


@settings(max_examples=10)
@given(start=st.integers(0, 37), length=st.integers(1, 6))
def test_a_stop_string_ends_a_row_and_is_cut_off(start, length):
    """Its first and last letter fall anywhere within a token."""
    whole = run("palm", prompts(2, 9), Sampling(20))[0].text
    stop = whole[start : start + length]
    row = run("palm", prompts(2, 9), Sampling(20, stop=("ZZ", stop)))[0]
    at = whole.index(stop)
    assert row.text == whole[:at] and row.ended_by == "stop"
    assert len(row.nats) == -(-(at + len(stop)) // 2)  # up to the token that completes it


def test_nothing_is_read_in_vain(monkeypatch):
    """The loop ends with the last row, and the cache has room for what may be read and no more."""
    whole = run("palm", prompts(2, 9), Sampling(20))
    reads, room = [], []
    model, params = initialised(small("palm"))
    read = sampling._read
    monkeypatch.setattr(sampling, "_read", lambda *a: reads.append(a[3].shape) or read(*a))
    model = dataclasses.replace(model, cache=lambda *a, cache=model.cache: room.append(a[2]) or cache(*a))
    stop = tuple(row.text[:4] for row in whole)
    rows = generate(model, params, PairTokenizer(), prompts(2, 9), prompt_keys(0, 2), Sampling(20, stop=stop))
    assert [row.ended_by for row in rows] == ["stop", "stop"]
    assert room == [28] and sum(t for _, t in reads) == 10


@pytest.mark.parametrize("sampled", ["retro"], indirect=True)
def test_a_row_that_has_ended_retrieves_no_more(sampled):
    family, rows = sampled
    asked = []

    def counted(chunks_bm):
        asked.append(len(chunks_bm))
        return retrieve(chunks_bm)

    options = dataclasses.replace(SAMPLED, stop=(rows[1].text[:4],))
    again = run(family, prompts(*LENGTHS), options, prompt_keys(5, 3), retrieve=counted)
    assert again[1].ended_by == "stop" and again[1].retrieved == ()
    assert asked == [2, 2]
    for i in (0, 2):
        np.testing.assert_array_equal(again[i].tokens, rows[i].tokens)
