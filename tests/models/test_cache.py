"""Reading on from a cache is reading the whole: every family, every switch, however the text is cut."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decoder import Neighbours
from models.families import build
from models.retro.cached_step import attending_spans
from tests.models.small import FORMS, SHORT_CHUNK, initialised, neighbours, small, tokens

LENGTH, ROOM, M = 23, 26, SHORT_CHUNK
SPANS = attending_spans(0, LENGTH, M)


@cache
def prepared(name):
    """(model, params, ids, neighbours, logits of the whole, jitted step)."""
    model, params = initialised(FORMS[name])
    ids = tokens(length=LENGTH)
    near = None
    if name.startswith("retro"):
        near = neighbours(length=64 * (LENGTH // M), k=3)
        near = Neighbours(near.tokens[..., : 2 * M], near.mask[..., : 2 * M].at[:, 1, 0, 5:].set(False))
    return model, params, ids, near, jax.jit(model.apply)(params, ids, near), jax.jit(model.step)


@pytest.mark.parametrize("name", FORMS)
@settings(max_examples=5)
@given(at_once=st.lists(st.booleans(), min_size=len(SPANS), max_size=len(SPANS)))
def test_cached_logits_are_those_of_the_whole_at_every_position(name, at_once):
    """Each span is read in one call or token by token."""
    model, params, ids, near, whole, step = prepared(name)
    memory, logits = model.cache(params, ids.shape[0], ROOM), []
    for (begin, end), together in zip(SPANS, at_once):
        for start, stop in [(begin, end)] if together else [(t, t + 1) for t in range(begin, end)]:
            part, memory = step(params, memory, ids[:, start:stop], near and completed(near, start))
            logits.append(part)
    assert int(memory["position"]) == LENGTH
    np.testing.assert_allclose(jnp.concatenate(logits, axis=1), whole, rtol=1e-5, atol=1e-5)


def completed(near, position):
    """The neighbours of the chunk that the token at `position` completes, None where it completes none."""
    chunk, rest = divmod(position + 1, M)
    return None if rest else jax.tree.map(lambda x: x[:, chunk - 1 : chunk], near)


@pytest.mark.parametrize("heads, kept", [("multi_query", 1), ("multi_head", 2)])
def test_multi_query_attention_keeps_one_key_value_head(heads, kept):
    model, params = initialised(small("palm", attention=heads))
    block = model.cache(params, 3, ROOM)["layers"]["parallel_block"]
    assert block["key"].shape == block["value"].shape == (2, 3, ROOM, kept, 16)


def test_a_chunk_without_neighbours_is_read_as_the_dense_model_reads_it():
    """None at a chunk's end forgets the neighbours of the chunk before."""
    model, params, ids, near, _, step = prepared("retro")
    off = near._replace(mask=near.mask.at[:, 1:].set(False))
    whole = jax.jit(model.apply)(params, ids, off)
    memory, logits = model.cache(params, ids.shape[0], ROOM), []
    for t in range(LENGTH):
        part, memory = step(params, memory, ids[:, t : t + 1], completed(near, t) if t < 2 * M - 1 else None)
        logits.append(part)
    np.testing.assert_allclose(jnp.concatenate(logits, axis=1), whole, rtol=1e-5, atol=1e-5)


@given(start=st.integers(0, 300), length=st.integers(0, 300), chunk=st.integers(1, 70))
def test_attending_spans_cover_and_begin_where_attending_chunks_do(start, length, chunk):
    spans = attending_spans(start, start + length, chunk)
    assert [p for span in spans for p in range(*span)] == list(range(start, start + length))
    for number, (first, last) in enumerate(spans):
        assert number == 0 or (first + 1) % chunk == 0
        assert all((p + 1) % chunk for p in range(first + 1, last))


def test_retro_off_generates_as_its_dense_decoder():
    model, params, ids, *_ = prepared("retro")
    dense = build(model.config.decoder)
    logits, _ = jax.jit(dense.step)(params, dense.cache(params, ids.shape[0], ROOM), ids)
    np.testing.assert_allclose(logits, jax.jit(model.apply)(params, ids), rtol=1e-5, atol=1e-5)
