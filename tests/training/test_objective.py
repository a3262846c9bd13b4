"""A loss cut into parts is the loss: one after another they give its value, and their gradients add up to its own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from errors import InputError
from models.families import build, family_of
from tests.models.small import FORMS, initialised, neighbours, tokens
from training.objective import objective

LAYERS, LENGTH = 4, 16
FORMS_IN_PARTS = ["palm", "gopher learned", "retro, several CCA layers"]


def example(form):
    config = FORMS[form]
    if not config.retrieves:
        config = dataclasses.replace(config, num_layers=LAYERS)
    _, params = initialised(config)
    ids = tokens(length=LENGTH + 1)
    batch = {
        "tokens": ids[:, :-1], "targets": ids[:, 1:], "weights": jnp.ones((2, LENGTH)).at[0, 5].set(0),
        "neighbours": None,
    }  # fmt: skip
    if config.retrieves:
        shape = (2, LENGTH // config.chunk, 2, 2 * config.neighbour)
        near = jax.tree.map(lambda x: jnp.resize(x, shape), neighbours(length=64))
        batch["neighbours"] = near
    return objective(build(config), family_of(config).name, "float32"), params, batch


@pytest.mark.parametrize("form", FORMS_IN_PARTS)
def test_parts_compose_to_the_loss(form):
    trained, params, batch = example(form)

    def composed(params):
        carry = None
        for part in trained.parts(3):
            carry = part.apply(part.take(params), carry, batch)
        return carry

    whole = jax.jit(jax.value_and_grad(lambda p: trained.loss(p, batch), has_aux=True))(params)
    parts = jax.jit(jax.value_and_grad(composed, has_aux=True))(params)
    for a, b in zip(jax.tree.leaves(parts), jax.tree.leaves(whole)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize("form", FORMS_IN_PARTS)
def test_every_layer_is_read_by_one_part(form):
    trained, params, _ = example(form)
    sizes = [
        sum(leaf.size for leaf in jax.tree.leaves(part.take(params)["layers"])) for part in trained.parts(3)
    ]
    rest = {"embedding", "final_norm"}
    shared = sizes_of({name: leaves for name, leaves in params.items() if name in rest})
    again = (
        sizes_of(params["embedding"]) if "encoder" in params else 0
    )  # where it may read the encoder's tokens
    assert sum(sizes) == sizes_of(params) - shared + again


def sizes_of(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_more_parts_than_layers_are_refused():
    with pytest.raises(InputError, match="4 layers cannot be cut into 5 parts"):
        example("palm")[0].parts(5)


def test_the_weight_of_log_z_is_the_familys_unless_given():
    """PaLM's published weight by default; without it the loss is the cross entropy that is reported."""
    _, params, batch = example("palm")
    model = build(dataclasses.replace(FORMS["palm"], num_layers=LAYERS))

    def losses(**given):
        loss, sums = jax.jit(objective(model, "palm", "float32", **given).loss)(params, batch)
        return float(loss), float(sums["nats"])

    (published, nats), (bare, same), (given, _) = losses(), losses(z_loss=0.0), losses(z_loss=2e-4)
    assert bare == nats == same
    assert published > bare
    np.testing.assert_allclose(given - bare, 2 * (published - bare), rtol=1e-2)  # a small difference of sums
