"""Properties that every decoder has, whatever it computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.families import build, with_decoder_fields
from tests.models.small import FAMILIES, LENGTH, applied, initialised, neighbours_for, small, tokens


@pytest.mark.parametrize(
    "family, changes", [*[(f, {}) for f in FAMILIES], ("palm", {"embeddings": "untied"})]
)
def test_causal_by_gradient(family, changes):
    """No logit at position t moves with the embedding of a later token."""
    model, params = initialised(small(family, **changes))
    ids, near = tokens(batch=1), neighbours_for(family, batch=1)
    embedding = params["embedding"]["embedding"]
    table = embedding["table"]
    # Untie: perturb the inputs alone, through an embedding of positions instead of tokens.
    positions = jnp.arange(LENGTH)[None]

    @jax.jit
    @jax.grad
    def gradient_at(inputs, t):
        moved = {**params, "embedding": {"embedding": {**embedding, "table": inputs}}}
        return jnp.sum(jnp.sin(model.apply(moved, positions, near)[0, t, :7]))

    inputs = jnp.concatenate([table[ids[0]], jnp.zeros((table.shape[0] - LENGTH, table.shape[1]))])
    for t in (0, 63, 64, 130):
        gradient = gradient_at(inputs, t)
        # A tied output reads rows 0 … 6; leave those out and look at inputs after t.
        later = jnp.abs(gradient[max(t + 1, 7) : LENGTH]).max()
        assert later == 0, f"position {t} sees the future"
        if t > 7:
            assert jnp.abs(gradient[7 : t + 1]).max(axis=-1).min() > 0, (
                f"position {t} does not see its whole past"
            )


@pytest.mark.parametrize(
    "family, remat",
    [
        ("palm", "full"),
        ("gopher", "dots"),
        ("retro", "full"),
        *(
            pytest.param(*case, marks=pytest.mark.exhaustive)
            for case in (("palm", "dots"), ("gopher", "full"), ("retro", "dots"))
        ),
    ],
)
def test_rematerialisation_changes_nothing(family, remat):
    config = small(family)
    if family == "retro":
        config = small("retro", decoder=small("gopher", num_layers=1), cca_layers=(1,), encoder_layers=1)
    changed = with_decoder_fields(config, remat=remat)
    _, params = initialised(config)

    def gradient(config):
        model = build(config)
        return jax.jit(
            jax.grad(lambda p: jnp.mean(jnp.sin(model.apply(p, tokens(), neighbours_for(family)))))
        )(params)

    for a, b in zip(jax.tree.leaves(gradient(config)), jax.tree.leaves(gradient(changed))):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", ["palm", "gopher"])
def test_a_range_of_layers_is_a_slice(family):
    """Depth in two ranges, or layer by layer, equals depth in one: a pipeline's stages are slices."""
    model, params = initialised(small(family, num_layers=6))  # deeper than what is unrolled
    layers = jax.jit(model.layers, static_argnums=(2, 3))
    x = model.embed(params, tokens(length=64))
    whole = layers(params, x, 0, 6)
    halves = layers(params, layers(params, x, 0, 2), 2, 6)
    single = x
    for index in range(6):
        single = layers(params, single, index, index + 1)
    np.testing.assert_allclose(whole, halves, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(whole, single, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_start_at_unit_scale(family):
    params = jax.jit(build(small(family)).init)(jax.random.key(0))
    logits = applied(small(family))(params, tokens(), neighbours_for(family))
    assert 0.5 < float(jnp.std(logits)) < 2.0


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_rows_do_not_mix(family):
    _, params = initialised(small(family))
    both, near = tokens(), neighbours_for(family)
    second = None if near is None else jax.tree.map(lambda x: x[1:], near)
    apply = applied(small(family))
    np.testing.assert_allclose(
        apply(params, both, near)[1:], apply(params, both[1:], second), rtol=1e-5, atol=1e-5
    )
