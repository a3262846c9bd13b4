"""The dense kernel of every family: no bias, normal with standard deviation scale/√n_in."""

from collections.abc import Callable

import haiku as hk
import jax


def linear(output_size: int, name: str, scale: float = 1.0) -> Callable[[jax.Array], jax.Array]:
    """[..., n_in] -> [..., output_size]. The initialisation is PaLM's (section 5, "Model initialization").

    Leading axes are folded into one: over two of them, XLA's CPU backend copies both sides of the weights'
    gradient into another layout first, and a feed-forward layer takes nearly twice as long.
    """
    init = hk.initializers.VarianceScaling(scale**2, mode="fan_in", distribution="normal")

    def apply(x):
        kernel = hk.Linear(output_size, with_bias=False, w_init=init, name=name)
        return kernel(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], output_size)

    return apply
