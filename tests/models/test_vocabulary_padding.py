"""Rows beyond the vocabulary change nothing but what a mesh can divide."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.families import build, configuration, parameter_shapes, with_decoder_fields
from models.layers.axes import placed_by
from models.layers.dot_product_attention import MASKED
from parallelism.mesh import MeshShape, make_mesh
from parallelism.rules import place_activation
from tests.models.small import tokens

VOCAB, MULTIPLE, ROWS, LENGTH = 1021, 12, 1032, 16


@pytest.fixture(scope="module", params=["tied", "untied"])
def pair(request):
    """(a model and its parameters, the same with rows beyond)."""
    plain = with_decoder_fields(configuration("palm/smoke"), vocab_size=VOCAB, embeddings=request.param)
    models = [build(plain), build(with_decoder_fields(plain, vocab_multiple=MULTIPLE))]
    return [(model, jax.jit(model.init)(jax.random.key(0))) for model in models]


def test_the_other_rows_start_as_they_would_without(pair):
    (_, plain), (_, padded) = pair
    for name, matrix in padded["embedding"]["embedding"].items():
        assert matrix.shape[0] == ROWS and not matrix[VOCAB:].any()
        np.testing.assert_array_equal(matrix[:VOCAB], plain["embedding"]["embedding"][name])
    others = [
        {k: v for k, v in tree.items() if k not in ("embedding", "encoder")} for tree in (plain, padded)
    ]
    jax.tree.map(np.testing.assert_array_equal, *others)


def test_the_same_logits_and_none_beyond(pair):
    (model, params), (padded_model, padded) = pair
    ids = tokens(LENGTH) % VOCAB
    logits = jax.jit(padded_model.apply)(padded, ids)
    assert (logits[..., VOCAB:] == MASKED).all()
    # A product of another width may add up in another order: a few roundings of float32.
    np.testing.assert_allclose(logits[..., :VOCAB], jax.jit(model.apply)(params, ids), rtol=1e-5, atol=1e-5)
    assert not jax.nn.softmax(logits)[..., VOCAB:].any()


def test_rows_beyond_have_no_gradient(pair):
    _, (model, params) = pair
    ids = tokens(LENGTH) % VOCAB

    def loss(params):
        return jnp.mean(jax.nn.logsumexp(model.apply(params, ids), axis=-1) ** 2)

    for gradient in jax.jit(jax.grad(loss))(params)["embedding"]["embedding"].values():
        assert gradient[:VOCAB].any() and not gradient[VOCAB:].any()


def test_a_mesh_that_does_not_divide_the_vocabulary_divides_its_rows(pair):
    (model, params), (padded_model, padded) = pair
    place = place_activation(make_mesh(MeshShape(1, 4, 2)))
    ids = tokens(LENGTH, batch=4) % VOCAB

    def of(model, place=None):
        def loss(params):
            with placed_by(place):
                logits = model.apply(params, ids)[..., :VOCAB]
            return jnp.mean(logits**2), logits

        return jax.jit(jax.grad(loss, has_aux=True))

    gradient, logits = of(padded_model, place)(padded)
    expected_gradient, expected = of(model)(params)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    for name, matrix in gradient["embedding"]["embedding"].items():
        alone = expected_gradient["embedding"]["embedding"][name]
        np.testing.assert_allclose(matrix[:VOCAB], alone, rtol=1e-4, atol=1e-5 * np.abs(alone).max())


def test_both_tables_of_retro_are_padded():
    config = with_decoder_fields(configuration("retro/smoke"), vocab_size=VOCAB, vocab_multiple=MULTIPLE)
    shapes = parameter_shapes(config)
    for tree in (shapes, shapes["encoder"]):
        assert tree["embedding"]["embedding"]["table"].shape[0] == ROWS


@pytest.mark.parametrize("name", ["palm/540b", "gopher/280b", "retro/7.5b"])
def test_published_sizes_are_not_padded(name):
    config = configuration(name)
    rows = parameter_shapes(config)["embedding"]["embedding"]["table"].shape[0]
    assert rows == config.vocab_size
