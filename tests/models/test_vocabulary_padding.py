"""Rows beyond the vocabulary change nothing but what a mesh can divide."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.families import SIZES, build, configuration, parameter_shapes, with_decoder_fields
from models.layers.causal_attention import MASKED
from tests.models.small import FAMILIES, neighbours_for, tokens

VOCAB, MULTIPLE, ROWS = 1021, 12, 1032


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request):
    """(family, a model and its parameters, the same with rows beyond)."""
    plain = with_decoder_fields(configuration(f"{request.param}/smoke"), vocab_size=VOCAB)
    models = [build(plain), build(with_decoder_fields(plain, vocab_multiple=MULTIPLE))]
    return request.param, *[(model, jax.jit(model.init)(jax.random.key(0))) for model in models]


def test_the_other_rows_start_as_they_would_without(pair):
    _, (_, plain), (_, padded) = pair
    table = padded["embedding"]["embedding"]["table"]
    assert table.shape[0] == ROWS and not table[VOCAB:].any()
    np.testing.assert_array_equal(table[:VOCAB], plain["embedding"]["embedding"]["table"])
    others = [
        {k: v for k, v in tree.items() if k not in ("embedding", "encoder")} for tree in (plain, padded)
    ]
    jax.tree.map(np.testing.assert_array_equal, *others)


def test_the_same_logits_and_none_beyond(pair):
    family, (model, params), (padded_model, padded) = pair
    ids, near = tokens() % VOCAB, neighbours_for(family)
    near = near and near._replace(tokens=near.tokens % VOCAB)
    logits = jax.jit(padded_model.apply)(padded, ids, near)
    assert (logits[..., VOCAB:] == MASKED).all()
    # A product of another width may add up in another order: a few roundings of float32.
    np.testing.assert_allclose(
        logits[..., :VOCAB], jax.jit(model.apply)(params, ids, near), rtol=1e-5, atol=1e-5
    )
    assert not jax.nn.softmax(logits)[..., VOCAB:].any()


def test_rows_beyond_have_no_gradient(pair):
    family, _, (model, params) = pair
    ids, near = tokens() % VOCAB, neighbours_for(family)
    near = near and near._replace(tokens=near.tokens % VOCAB)

    def loss(params):
        return jnp.mean(jax.nn.logsumexp(model.apply(params, ids, near), axis=-1) ** 2)

    gradient = jax.jit(jax.grad(loss))(params)["embedding"]["embedding"]["table"]
    assert gradient[:VOCAB].any() and not gradient[VOCAB:].any()


def test_published_sizes_are_not_padded():
    for family, sizes in SIZES.items():
        for config in sizes.values():
            decoder = getattr(config, "decoder", config)
            assert parameter_shapes(config)["embedding"]["embedding"]["table"].shape[0] == decoder.vocab_size
            assert dataclasses.replace(decoder, vocab_multiple=1) == decoder, family
