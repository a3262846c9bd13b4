"""The dense kernel of every family: no bias, normal with standard deviation scale/√n_in."""

import haiku as hk


def linear(output_size: int, name: str, scale: float = 1.0) -> hk.Linear:
    """[..., n_in] -> [..., output_size]. The initialisation is PaLM's (section 5, "Model initialization")."""
    init = hk.initializers.VarianceScaling(scale**2, mode="fan_in", distribution="normal")
    return hk.Linear(output_size, with_bias=False, w_init=init, name=name)
