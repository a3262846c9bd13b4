"""A model starts at unit scale whatever its depth: at the shape ratios of the largest published sizes."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.families import build, configuration
from tests.models.small import tokens

# 540B: attention 2/3 as wide as d_model, feed-forward 4 times, 118 layers. 280B: attention as wide, 80 layers.
PALM = dataclasses.replace(
    configuration("palm/540b"), d_model=96, d_ff=384, num_heads=4, head_size=16, vocab_size=1333
)
GOPHER = dataclasses.replace(
    configuration("gopher/280b"), d_model=96, d_ff=384, num_heads=6, head_size=16, vocab_size=1024
)


@cache
def started(config):
    return jax.jit(build(config).init)(jax.random.key(0))


def stream(config):
    """(model, params, the residual stream's RMS after each of the layers, 0 … L)."""
    model, params = build(config), started(config)
    layers = jax.jit(
        lambda params, x: jax.lax.scan(
            lambda x, layer: (model.layers(params | layer, x, 0, 1),) * 2,
            x,
            jax.tree.map(lambda leaf: leaf[:, None], {name: params[name] for name in stacked(params)}),
        )[1]
    )
    x = model.embed(params, tokens(length=64))
    return model, params, jnp.concatenate([x[None], layers(params, x)])


def stacked(params):
    return [name for name in params if name not in ("embedding", "final_norm")]


def rms(x):
    return np.asarray(jnp.sqrt(jnp.mean(jnp.square(x), axis=(1, 2, 3))))


@pytest.mark.parametrize("block", ["parallel", "serial"])
def test_palm_at_the_ratios_of_540b(block):
    """Section 5's kernels N(0, 1/√n_in): every block adds as much as the first, so the stream grows like the
    root of the depth, neither exploding nor drowning later blocks; embeddings and logits are of unit scale.
    """
    model, params, x_lbtd = stream(dataclasses.replace(PALM, block=block))
    scale, added = rms(x_lbtd), rms(jnp.diff(x_lbtd, axis=0))
    assert scale[0] == pytest.approx(1, abs=0.05)
    assert 0.5 < added.min() / added[0] and added.max() / added[0] < 2
    expected = np.sqrt(1 + np.cumsum(added**2))
    assert (0.5 * expected < scale[1:]).all() and (scale[1:] < 2 * expected).all()
    assert float(jnp.std(model.unembed(params, x_lbtd[-1]))) == pytest.approx(1, abs=0.2)


def test_gopher_at_the_ratios_of_280b():
    """With the outputs scaled by 1/√(2L) the stream itself stays flat over 80 layers."""
    model, params, x_lbtd = stream(GOPHER)
    scale = rms(x_lbtd)
    assert scale[0] == pytest.approx(1, abs=0.05)
    assert (np.diff(scale) < 0.05).all() and scale.min() > 0.9 and scale.max() < 1.5
    assert float(jnp.std(model.unembed(params, x_lbtd[-1]))) == pytest.approx(1, abs=0.2)


def test_each_part_has_its_own_fan_in():
    """540B's attention output reads 12,288 numbers and its feed-forward output 73,728: 1/√n_in of each."""
    params = started(PALM)["parallel_block"]
    for name, width in (("multi_query_attention/output", 64), ("swiglu/down", 384), ("swiglu/up", 96)):
        assert float(jnp.std(params[name]["w"])) == pytest.approx(width**-0.5, rel=0.02)
