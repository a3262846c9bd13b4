"""The loss against its definition in float64, its gradient, and what the z-loss does and does not see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.losses import in_parts, next_token_sums, token_nats


def _example(seed, batch=2, length=5, vocabulary=7, scale=3.0):
    rng = np.random.default_rng(seed)
    logits = (scale * rng.standard_normal((batch, length, vocabulary))).astype(np.float32)
    targets = rng.integers(vocabulary, size=(batch, length)).astype(np.int32)
    weights = rng.integers(2, size=(batch, length)).astype(np.float32)
    weights[0, 0] = 1.0
    return logits, targets, weights


def _by_definition(logits, targets, weights, z_loss):
    """One token at a time, in float64."""
    total = 0.0
    for b, t in np.ndindex(targets.shape):
        z = np.sum(np.exp(np.float64(logits[b, t])))
        p = np.exp(np.float64(logits[b, t, targets[b, t]])) / z
        total += weights[b, t] * (-np.log(p) + z_loss * np.log(z) ** 2)
    return total


@given(
    seed=st.integers(0, 2**31),
    z_loss=st.sampled_from([0.0, 1e-4, 0.1]),
    scale=st.sampled_from([0.0, 1.0, 20.0]),
)
def test_equals_its_definition(seed, z_loss, scale):
    logits, targets, weights = _example(seed, scale=scale)
    total, _ = next_token_sums(logits, targets, weights, z_loss)
    np.testing.assert_allclose(total, _by_definition(logits, targets, weights, z_loss), rtol=1e-5, atol=1e-6)


def test_losses_of_parts_of_a_batch_add_up():
    logits, targets, weights = _example(0, batch=4)
    whole, sums = next_token_sums(logits, targets, weights, 1e-2)
    halves = [
        next_token_sums(*(x[half] for x in (logits, targets, weights)), 1e-2)
        for half in (slice(0, 1), slice(1, 4))
    ]
    np.testing.assert_allclose(halves[0][0] + halves[1][0], whole, rtol=1e-6)
    for name in sums:
        np.testing.assert_allclose(halves[0][1][name] + halves[1][1][name], sums[name], rtol=1e-6)
    np.testing.assert_allclose(sums["weight"], weights.sum())


def test_nats_are_those_of_the_loss():
    logits, targets, weights = _example(1)
    nats = token_nats(logits, targets)
    assert nats.shape == targets.shape and nats.dtype == jnp.float32
    _, sums = next_token_sums(logits, targets, weights)
    np.testing.assert_allclose(np.sum(nats * weights), sums["nats"], rtol=1e-6)


@pytest.mark.parametrize("z_loss", [0.0, 0.1])
def test_gradient_is_that_of_the_definition(z_loss):
    logits, targets, weights = _example(2)
    gradient = jax.grad(lambda x: next_token_sums(x, targets, weights, z_loss)[0])(logits)
    numeric = np.zeros_like(logits, np.float64)
    for index in np.ndindex(logits.shape):
        step = np.zeros_like(numeric)
        step[index] = 1e-5
        up, down = (_by_definition(np.float64(logits) + s, targets, weights, z_loss) for s in (step, -step))
        numeric[index] = (up - down) / 2e-5
    np.testing.assert_allclose(gradient, numeric, atol=1e-5)


def test_only_the_z_loss_sees_a_shift_of_all_logits():
    """Cross entropy is invariant to logits + c; log²Z becomes (log Z + c)², and so pins the logits."""
    logits, targets, weights = _example(3)
    before, after = (next_token_sums(logits + c, targets, weights)[1] for c in (0.0, 2.5))
    np.testing.assert_allclose(after["nats"], before["nats"], rtol=1e-5)
    log_z = np.log(np.sum(np.exp(np.float64(logits)), axis=-1))
    np.testing.assert_allclose(after["z"], np.sum(weights * (log_z + 2.5) ** 2), rtol=1e-5)


def test_tokens_of_weight_zero_have_no_say():
    logits, targets, weights = _example(4)
    hidden = np.where(weights[..., None] == 0, 100.0, 0.0).astype(np.float32) * np.arange(logits.shape[-1])
    other = np.where(weights == 0, 0, targets)
    assert (
        next_token_sums(logits, targets, weights, 0.1)[0]
        == next_token_sums(logits + hidden, other, weights, 0.1)[0]
    )


def test_a_batch_of_padding_has_loss_and_gradient_zero():
    logits, targets, weights = _example(5)
    loss, gradient = jax.value_and_grad(lambda x: next_token_sums(x, targets, 0 * weights, 0.1)[0])(logits)
    assert loss == 0 and not gradient.any()


def test_arithmetic_is_float32_for_logits_of_bfloat16():
    logits, targets, weights = _example(6, vocabulary=300)
    logits = jnp.asarray(logits, jnp.bfloat16)
    loss, _ = next_token_sums(logits, targets, weights)
    assert loss.dtype == jnp.float32
    expected = _by_definition(np.asarray(logits, np.float64), targets, weights, 0.0)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_large_logits_do_not_overflow():
    logits, targets, weights = _example(7)
    assert np.isfinite(next_token_sums(logits * 1e4, targets, weights, 1e-4)[0])


@pytest.mark.parametrize("parts", [2, 3, 6])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_loss_in_parts_is_the_loss_and_has_its_gradient(parts, dtype):
    keys = jax.random.split(jax.random.key(0), 4)
    x_btd = jax.random.normal(keys[0], (2, 6, 8)).astype(dtype)
    params = {"w": jax.random.normal(keys[1], (8, 11)).astype(dtype)}
    targets = jax.random.randint(keys[2], (2, 6), 0, 11)
    weights = jax.random.bernoulli(keys[3], 0.7, (2, 6)).astype(jnp.float32)

    def loss(params, x_btd, others):
        return next_token_sums(x_btd @ params["w"], *others, z_loss=0.1)

    def scaled(loss):
        # A factor, so that the cotangent that reaches the parts is not 1.
        return lambda p, x: tuple(
            3 * v if i == 0 else v for i, v in enumerate(loss(p, x, (targets, weights)))
        )

    direct, cut = (
        jax.value_and_grad(scaled(f), argnums=(0, 1), has_aux=True)(params, x_btd)
        for f in (loss, in_parts(loss, parts))
    )
    tolerance = {jnp.float32: 1e-5, jnp.bfloat16: 2e-2}[dtype]
    assert jax.tree.map(jnp.shape, direct) == jax.tree.map(jnp.shape, cut)
    for a, b in zip(jax.tree.leaves(direct), jax.tree.leaves(cut)):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(
            *(np.asarray(x, np.float32) for x in (a, b)), rtol=tolerance, atol=tolerance
        )
    np.testing.assert_allclose(
        loss(params, x_btd, (targets, weights))[0],
        in_parts(loss, parts)(params, x_btd, (targets, weights))[0],
        rtol=1e-5,
    )
