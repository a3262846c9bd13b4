"""Attention by blocks against the form that holds the whole square, its memory, and its precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.layers import dot_product_attention as module
from models.layers.dot_product_attention import causal_attention, causal_relative_attention


def direct(content, position, relative, k, v):
    """Every pair at once: [B, H, T, T], distances by indexing instead of the shift."""
    length, heads = content.shape[1:3]
    k, v = (jnp.repeat(x, heads // x.shape[2], axis=2) for x in (k, v))
    logits = jnp.einsum("bthk,bshk->bhts", content, k)
    distance = jnp.arange(length)[:, None] - jnp.arange(length)[None]
    by_pair = relative[length - 1 - jnp.maximum(distance, 0)]  # [T, S, H, K]
    logits += jnp.einsum("bthk,tshk->bhts", position, by_pair)
    weights = jax.nn.softmax(jnp.where(distance >= 0, logits, -jnp.inf), axis=-1)
    return jnp.einsum("bhts,bshk->bthk", weights, v)


def inputs(batch, length, heads, groups, size, seed=0):
    random = np.random.default_rng(seed)
    shapes = (
        [(batch, length, heads, size)] * 2 + [(length, heads, size)] + [(batch, length, groups, size)] * 2
    )
    return [jnp.asarray(random.normal(size=shape), jnp.float32) for shape in shapes]


def without_positions(content, position, relative, k, v):
    return direct(content * content.shape[-1] ** -0.5, 0 * position, relative, k, v)


FORMS = {
    "content": (lambda q, _, __, k, v: causal_attention(q, k, v), without_positions),
    "relative": (causal_relative_attention, direct),
}


def value_and_gradients(function, arguments):
    weights = jnp.sin(jnp.arange(arguments[0].size, dtype=jnp.float32)).reshape(arguments[0].shape)
    loss = lambda *a: jnp.sum(weights * function(*a))
    return jax.jit(lambda a: (function(*a), jax.grad(loss, argnums=range(5))(*a)))(arguments)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=4)
@given(
    batch=st.integers(1, 3),
    length=st.integers(1, 30),
    groups=st.integers(1, 2),
    shared=st.integers(1, 2),
    size=st.sampled_from([2, 5]),
    block=st.sampled_from([3, 8]),
)
def test_equals_the_direct_form(form, batch, length, groups, shared, size, block):
    """Whatever the number of blocks and segments, with the last block short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        patch.setattr(module, "SEGMENTS", 3)
        ours, theirs = FORMS[form]
        arguments = inputs(batch, length, groups * shared, groups, size)
        value, gradients = value_and_gradients(ours, arguments)
        expected, expected_gradients = value_and_gradients(theirs, arguments)
    np.testing.assert_allclose(value, expected, atol=1e-5)
    for gradient, expected in zip(gradients, expected_gradients):
        np.testing.assert_allclose(gradient, expected, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_equals_the_direct_form_at_the_real_block(form):
    """150 queries: two whole blocks and a short one; 600: scanned segments, a short segment, a short block."""
    ours, theirs = FORMS[form]
    for length in (150, 600):
        arguments = inputs(1, length, 2, 1, 4)
        actual, expected = value_and_gradients(ours, arguments), value_and_gradients(theirs, arguments)
        for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
            np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_memory_of_a_gradient_grows_linearly(form):
    """Two layers, so that weights kept from the forward pass would show. Between 1024 and 4096 the square
    grows sixteenfold; what is held grows fourfold.
    """
    attend = FORMS[form][0]

    def loss(content, position, relative, k, v):
        for _ in range(2):
            content = attend(content, position, relative, k, v)
        return jnp.sum(content)

    def bytes_held(length):
        compiled = jax.jit(jax.grad(loss, argnums=range(5))).lower(*inputs(1, length, 2, 1, 4)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert bytes_held(4096) < 5 * bytes_held(1024)


@pytest.mark.parametrize("form", FORMS)
def test_no_position_sees_the_future(form):
    arguments = inputs(1, 70, 2, 1, 4)
    changed = [x.at[:, 65:].set(7.0) if x.ndim == 4 else x for x in arguments]
    before, after = (FORMS[form][0](*a) for a in (arguments, changed))
    assert (before[:, :65] == after[:, :65]).all() and (before[:, 65:] != after[:, 65:]).any()


@pytest.mark.parametrize("form", FORMS)
def test_softmax_is_float32_for_inputs_of_bfloat16(form):
    """300 keys of equal weight: a sum in bfloat16 would stop at 256."""
    content, position, relative, k, v = (x.astype(jnp.bfloat16) for x in inputs(1, 300, 2, 1, 4))
    mixed = FORMS[form][0](0 * content, 0 * position, relative, k, jnp.ones_like(v))
    assert mixed.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(mixed, np.float32), 1.0)
