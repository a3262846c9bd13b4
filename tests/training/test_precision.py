"""What a policy casts, and that the gradient and the parameters stay in float32."""

import jax
import jax.numpy as jnp
import pytest

from errors import InputError
from training.precision import cast_for_compute

PARAMS = {"embedding": jnp.ones((3, 2)), "attention": {"w": jnp.full((2, 2), 1 / 3), "table": jnp.arange(4)}}


def test_float32_changes_nothing():
    cast = cast_for_compute(PARAMS, "float32")
    assert jax.tree.all(jax.tree.map(lambda a, b: a.dtype == b.dtype and (a == b).all(), cast, PARAMS))


def test_mixed_casts_floating_leaves_only():
    cast = cast_for_compute(PARAMS, "mixed")
    assert cast["embedding"].dtype == cast["attention"]["w"].dtype == jnp.bfloat16
    assert cast["attention"]["table"].dtype == jnp.int32


def test_mixed_computes_in_bfloat16_and_differentiates_in_float32():
    def loss(w):
        w = cast_for_compute(w, "mixed")
        assert (w @ w).dtype == jnp.bfloat16
        return jnp.sum((w @ w).astype(jnp.float32))

    assert jax.grad(loss)(PARAMS["attention"]["w"]).dtype == jnp.float32


def test_unknown_policy_lists_the_known():
    with pytest.raises(InputError, match="float32, mixed"):
        cast_for_compute(PARAMS, "float8")
