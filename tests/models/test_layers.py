"""Norms, positions and attention against definitions written out."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decoder import operator
from models.layers.attention import CausalAttention, CrossAttention
from models.layers.norms import LayerNorm, RMSNorm
from models.layers.positions import rotary, shift, sinusoids

HEADS, SIZE, WIDTH = 2, 8, 16
RANDOM = np.random.default_rng(0)


def random(*shape):
    return jnp.asarray(RANDOM.normal(size=shape), jnp.float32)


def perturbed(op, *inputs):
    shapes = jax.eval_shape(op.init, jax.random.key(0), *inputs)
    return jax.tree.map(lambda x: 0.4 * random(*x.shape), shapes)


def test_norms_against_their_formulas():
    x = 3 + 2 * random(4, WIDTH)
    rms = hk.without_apply_rng(hk.transform(lambda x: RMSNorm()(x)))
    layer = hk.without_apply_rng(hk.transform(lambda x: LayerNorm()(x)))
    np.testing.assert_allclose(
        rms.apply(rms.init(None, x), x),
        x / np.sqrt(np.mean(np.square(x), -1, keepdims=True) + 1e-6),
        rtol=1e-5,
    )
    centred = x - np.mean(x, -1, keepdims=True)
    np.testing.assert_allclose(
        layer.apply(layer.init(None, x), x), centred / np.std(x, -1, keepdims=True), rtol=1e-4, atol=1e-5
    )


@settings(max_examples=30)
@given(start=st.integers(0, 5000), gap=st.integers(0, 200))
def test_rotary_products_depend_on_distance_alone(start, gap):
    q, k = random(1, 1, 1, SIZE), random(1, 1, 1, SIZE)

    def product(i, j):
        return float(jnp.sum(rotary(q, jnp.array([i])) * rotary(k, jnp.array([j]))))

    assert product(start + gap, start) == pytest.approx(product(gap, 0), abs=2e-3)


@settings(max_examples=20)
@given(length=st.integers(1, 9), keys=st.integers(1, 9))
def test_shift_against_its_definition(length, keys):
    logits = random(2, length, length + keys - 1)
    shifted, logits = np.asarray(shift(logits, keys)), np.asarray(logits)
    for i in range(length):
        for j in range(keys):
            assert (shifted[:, i, j] == logits[:, i, length - 1 - i + j]).all()


def heads(params, name, x):
    return (x @ params[f"multi_head_attention/{name}"]["w"]).reshape(*x.shape[:-1], HEADS, SIZE)


def relative_score(params, q, k, distance):
    """[(q + u)·k + (q + v)·W_r R_d] / √K for one pair, per head."""
    r = heads(params, "relative", sinusoids(jnp.array([distance]), WIDTH))[0]
    u, v = params["multi_head_attention"]["u"], params["multi_head_attention"]["v"]
    return (jnp.sum((q + u) * k, -1) + jnp.sum((q + v) * r, -1)) / SIZE**0.5


def test_causal_relative_attention_against_the_definition():
    """O(T²), pair by pair, no shift trick; long enough for several blocks of queries."""
    length = 130
    op = operator(lambda x: CausalAttention(HEADS, SIZE, "multi_head", "relative", 2048)(x))
    x = random(1, length, WIDTH)
    params = perturbed(op, x)
    q, k, v = (heads(params, name, x[0]) for name in ("query", "key", "value"))
    rows = [0, 63, 64, 129]
    actual = jax.jit(op.apply)(params, x)[0]
    score = jax.jit(jax.vmap(relative_score, (None, None, 0, 0)))
    for i in rows:
        weights = jax.nn.softmax(score(params, q[i], k[: i + 1], i - jnp.arange(i + 1)), axis=0)
        mixed = jnp.einsum("jh,jhk->hk", weights, v[: i + 1]).reshape(-1)
        np.testing.assert_allclose(
            actual[i], mixed @ params["multi_head_attention/output"]["w"], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("offset", [0, 4])
def test_relative_cross_attention_against_the_definition(offset):
    length, runs, keys = 5, 2, 7
    op = operator(lambda x, e, mask: CrossAttention(HEADS, SIZE)(x, e, mask, offset))
    x, e = random(1, length, WIDTH), random(1, runs, keys, 12)
    mask = jnp.asarray(RANDOM.random((1, runs, keys)) < 0.7)
    params = perturbed(op, x, e, mask)
    q, k, v = heads(params, "query", x[0]), heads(params, "key", e[0]), heads(params, "value", e[0])
    actual = jax.jit(op.apply)(params, x, e, mask)[0]
    for i in range(length):
        pairs = [(c, j) for c in range(runs) for j in range(keys) if mask[0, c, j]]
        weights = jax.nn.softmax(
            jnp.stack([relative_score(params, q[i], k[c, j], i - j + offset) for c, j in pairs]), axis=0
        )
        mixed = sum(w[:, None] * v[c, j] for w, (c, j) in zip(weights, pairs)).reshape(-1)
        np.testing.assert_allclose(
            actual[i], mixed @ params["multi_head_attention/output"]["w"], rtol=1e-4, atol=1e-5
        )


def test_cross_attention_without_any_key_is_zero():
    op = operator(lambda x, e, mask: CrossAttention(HEADS, SIZE)(x, e, mask, 0))
    x, e, mask = random(1, 3, WIDTH), random(1, 1, 4, WIDTH), jnp.zeros((1, 1, 4), bool)
    params = perturbed(op, x, e, mask)
    assert (op.apply(params, x, e, mask) == 0).all()
    assert all(
        jnp.isfinite(g).all()
        for g in jax.tree.leaves(jax.jit(jax.grad(lambda p: op.apply(p, x, e, mask).sum()))(params))
    )


def test_multi_query_attention_against_the_definition():
    length = 100
    op = operator(lambda x: CausalAttention(HEADS, SIZE, "multi_query", "rope", 2048)(x))
    x = random(1, length, WIDTH)
    params = perturbed(op, x)
    w = {name: params[f"multi_query_attention/{name}"]["w"] for name in ("query", "key", "value", "output")}
    assert w["key"].shape == w["value"].shape == (WIDTH, SIZE)
    positions = jnp.arange(length)
    q = rotary((x @ w["query"]).reshape(1, length, HEADS, SIZE), positions)[0]
    k = rotary((x @ w["key"])[:, :, None], positions)[0, :, 0]
    logits = jnp.einsum("thk,sk->hts", q, k) / SIZE**0.5
    weights = jax.nn.softmax(jnp.where(jnp.tril(jnp.ones((length, length), bool))[None], logits, -jnp.inf))
    expected = jnp.einsum("hts,sk->thk", weights, (x @ w["value"])[0]).reshape(length, -1) @ w["output"]
    np.testing.assert_allclose(jax.jit(op.apply)(params, x)[0], expected, rtol=1e-4, atol=1e-5)
