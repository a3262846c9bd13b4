"""The training loss of all three families: next-token cross entropy in nats, with PaLM's z-loss as a
coefficient.

Arithmetic is float32 whatever the precision of the logits (Gopher, appendix C; PaLM, section 5). Suffixes: b
batch, t length, v vocabulary.
"""

import jax
import jax.numpy as jnp


def token_nats(logits_btv: jax.Array, targets_bt: jax.Array) -> jax.Array:
    """−log p(target) of every token, float32 [B, T]."""
    return _nats_and_log_z(logits_btv, targets_bt)[0]


def next_token_loss(
    logits_btv: jax.Array, targets_bt: jax.Array, weights_bt: jax.Array, z_loss: float = 0.0
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Weighted mean over tokens of −log p(target) + z_loss · log²Z (PaLM, section 5: z_loss = 1e-4).

    Z is the true softmax normaliser of the logits as they are, so the second term pins their scale.

    Returns:
        The loss, and sums from which means over several batches or devices are made: `nats` = Σ w·nats,
        `weight` = Σ w, `z` = Σ w·log²Z.
    """
    nats_bt, log_z_bt = _nats_and_log_z(logits_btv, targets_bt)
    sums = {
        "nats": jnp.sum(weights_bt * nats_bt),
        "weight": jnp.sum(weights_bt),
        "z": jnp.sum(weights_bt * jnp.square(log_z_bt)),
    }
    # Weights are zero or one, so only a batch of nothing but padding meets the floor: its loss is 0, not 0/0.
    loss = (sums["nats"] + z_loss * sums["z"]) / jnp.maximum(sums["weight"], 1.0)
    return loss, sums


def _nats_and_log_z(logits_btv, targets_bt):
    logits_btv = logits_btv.astype(jnp.float32)
    log_z_bt = jax.nn.logsumexp(logits_btv, axis=-1)
    target_logits_bt = jnp.take_along_axis(logits_btv, targets_bt[..., None], axis=-1)[..., 0]
    return log_z_bt - target_logits_bt, log_z_bt
