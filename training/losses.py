"""The training loss of all three families: next-token cross entropy in nats, with PaLM's z-loss as a
coefficient.

Arithmetic is float32 whatever the precision of the logits (Gopher, appendix C; PaLM, section 5). Suffixes: b
batch, t length, v vocabulary.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def token_nats(logits_btv: jax.Array, targets_bt: jax.Array) -> jax.Array:
    """−log p(target) of every token, float32 [B, T]."""
    return _nats_and_log_z(logits_btv, targets_bt)[0]


def next_token_sums(
    logits_btv: jax.Array, targets_bt: jax.Array, weights_bt: jax.Array, z_loss: float = 0.0
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Σ w · (−log p(target) + z_loss · log²Z) over tokens, and its terms (PaLM, section 5: z_loss = 1e-4).

    Z is the true softmax normaliser of the logits as they are, so the second term pins their scale. The mean
    of any number of batches is their sum by the sum of their weights.

    Returns:
        The sum, and the sums `nats` = Σ w·nats, `weight` = Σ w, `z` = Σ w·log²Z.
    """
    nats_bt, log_z_bt = _nats_and_log_z(logits_btv, targets_bt)
    sums = {
        "nats": jnp.sum(weights_bt * nats_bt),
        "weight": jnp.sum(weights_bt),
        "z": jnp.sum(weights_bt * jnp.square(log_z_bt)),
    }
    return sums["nats"] + z_loss * sums["z"], sums


def in_parts(loss: Callable, parts: int) -> Callable:
    """`loss`, a sum over tokens, taken part by part of the length, so that only a part's logits ever exist.

    A part's gradient is taken where its logits are, in the forward pass: they stay in a CPU's cache, and are
    not computed twice. On several devices every part would exchange the embedding's gradient; take one there.

    Args:
        loss: (params, x_btd, others: a tuple of [B, T]) -> (scalar, sums to report).
        parts: divides T.
    """
    if parts == 1:
        return loss

    def split(x):
        return x.reshape(x.shape[0], parts, -1, *x.shape[2:]).swapaxes(0, 1)

    def added(function, like, arrays):
        """(Σ over parts of what function(*part) returns first, all that it returns second), sums `like`."""

        def body(sums, part):
            values, kept = function(*part)
            return jax.tree.map(jnp.add, sums, values), kept

        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), like)
        return jax.lax.scan(body, zeros, jax.tree.map(split, arrays))

    @jax.custom_vjp
    def whole(params, x_btd, others):
        like = jax.eval_shape(loss, params, x_btd, others)
        return added(lambda *part: (loss(params, *part), None), like, (x_btd, others))[0]

    def forward(params, x_btd, others):
        def part(x_btd, others):
            value, (d_params, d_x) = value_and_gradient(params, x_btd, others)
            return (value, d_params), d_x

        value_and_gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        like = (jax.eval_shape(loss, params, x_btd, others), params)
        (value, d_params), d_x = added(part, like, (x_btd, others))
        d_params = jax.tree.map(lambda d, p: d.astype(p.dtype), d_params, params)
        return value, (d_params, d_x.swapaxes(0, 1).reshape(x_btd.shape))

    def backward(gradients, cotangent):
        return *jax.tree.map(lambda d: (cotangent[0] * d).astype(d.dtype), gradients), None

    whole.defvjp(forward, backward)
    return whole


def over_length(function: Callable, parts: int, arrays: Any) -> jax.Array:
    """function(arrays), arrays [B, T, ...] -> [B, T], taken part by part of the length; parts: divides T."""
    if parts == 1:
        return function(arrays)
    batch, length = jax.tree.leaves(arrays)[0].shape[:2]
    split = jax.tree.map(lambda x: x.reshape(batch, parts, -1, *x.shape[2:]).swapaxes(0, 1), arrays)
    return jax.lax.map(function, split).swapaxes(0, 1).reshape(batch, length)


def _nats_and_log_z(logits_btv, targets_bt):
    logits_btv = logits_btv.astype(jnp.float32)
    log_z_bt = jax.nn.logsumexp(logits_btv, axis=-1)
    target_logits_bt = jnp.take_along_axis(logits_btv, targets_bt[..., None], axis=-1)[..., 0]
    return log_z_bt - target_logits_bt, log_z_bt
