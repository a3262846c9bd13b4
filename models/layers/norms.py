"""Normalisation before a sub-layer, in float32 whatever the precision around it."""

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

EPSILON = 1e-6


class RMSNorm(hk.Module):
    """y = scale · x / √(mean(x²) + ε), without bias (Zhang & Sennrich 2019; Gopher section 2.1)."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D] -> [..., D], in the type of `x`."""
        scale = hk.get_parameter("scale", (x.shape[-1],), init=jnp.ones)
        x32 = x.astype(jnp.float32)
        inverse = jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + EPSILON)
        return (jnp.expand_dims(scale.astype(jnp.float32), range(x.ndim - 1)) * (x32 * inverse)).astype(
            x.dtype
        )


class LayerNorm(hk.Module):
    """Layer normalisation with a scale and no bias, as PaLM's text names it (section 2, "No Biases")."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D] -> [..., D], in the type of `x`."""
        centred = x.astype(jnp.float32) - jnp.mean(x.astype(jnp.float32), axis=-1, keepdims=True)
        return RMSNorm(name="centred")(centred).astype(x.dtype)


NORMS: dict[str, Any] = {"rms": RMSNorm, "layer": LayerNorm}
