"""Logits that are not to be chosen: keys that a query may not see, rows beyond the vocabulary."""

import jax
import jax.numpy as jnp

MASKED = -1e30  # finite, so that a row without any key stays free of NaN


def masked_softmax(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """Softmax in float32 over the last axis where `mask` (broadcastable) holds; a row without any key is
    uniform.
    """
    return jax.nn.softmax(jnp.where(mask, logits.astype(jnp.float32), MASKED), axis=-1).astype(logits.dtype)
