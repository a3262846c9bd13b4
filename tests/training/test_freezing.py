"""What is frozen stays bit for bit and costs no gradient; what is trained is trained as if it were alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.decoder import Neighbours
from models.families import build, configuration, parameter_shapes
from models.flops import retrofit_flops_per_token, train_flops_per_token
from parallelism.interface import Objective
from parallelism.mesh import MeshShape, make_mesh
from parallelism.strategies.spmd import spmd
from tests.models.products import product_flops
from tests.parallelism.drawn_states import drawn_state, laid_out
from training.checkpoints import fingerprint
from training.freezing import freeze
from training.objective import objective
from training.precision import POLICIES, optimiser_under
from training.recipes import recipe

BATCH, LENGTH, VOCAB = 8, 64, 64


def small(backbone, layers=1):
    """A RETRO around Gopher's or PaLM's block, cross-attention in the last layer."""
    dense = configuration(f"{backbone}/smoke")
    decoder = dataclasses.replace(dense, vocab_size=VOCAB, num_layers=layers)
    retro = configuration("retro/smoke")
    return dataclasses.replace(retro, decoder=decoder, cca_layers=(layers,), encoder_layers=1)


def batch(step, config):
    random = np.random.default_rng(step)
    tokens = random.integers(0, VOCAB, (BATCH, LENGTH + 1)).astype(np.int32)
    shape = (BATCH, LENGTH // 64, config.num_neighbours, 128)
    near = Neighbours(random.integers(0, VOCAB, shape).astype(np.int32), np.ones(shape, bool))
    weights = np.ones((BATCH, LENGTH), np.float32)
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weights": weights, "neighbours": near}


def frozen_of(config):
    return parameter_shapes(config.decoder).keys()


def strategy_of(config, precision, shape, frozen=()):
    model = build(config)
    trained, optimiser = freeze(
        frozen, objective(model, "retro", precision), optimiser_under(precision, recipe("retro", 4))
    )
    return spmd(trained, optimiser, make_mesh(shape, jax.devices()[: shape.size]))


@pytest.mark.parametrize(
    ("backbone", "precision", "shape"),
    [("gopher", "bfloat16_with_float32_copy", MeshShape(2, 2, 2)), ("palm", "float32", MeshShape())],
)
def test_the_decoder_stays_bit_for_bit_and_the_rest_learns(backbone, precision, shape):
    """AdamW decays every weight that it is given: the decoder is not given to it. Without neighbours what
    comes out is the dense model, losses and all.
    """
    config, frozen = small(backbone), frozen_of(small(backbone))
    strategy = strategy_of(config, precision, shape, frozen)
    _, optimiser = freeze(
        frozen, objective(build(config), "retro", precision), optimiser_under(precision, recipe("retro", 4))
    )
    state = laid_out(drawn_state(config, optimiser), strategy)
    before = {name: (fingerprint(leaves), jax.device_get(leaves)) for name, leaves in state.params.items()}
    for step in range(2):
        state, report = strategy.step(state, batch(step, config))
    assert 0 < float(report["grad_norm"]) < np.inf
    for name, leaves in state.params.items():
        assert (fingerprint(leaves) == before[name][0]) == (name in frozen), name
    for operator in ("cca", "encoder"):
        moved = jax.tree.map(
            lambda a, b: (np.asarray(a) != b).any(), state.params[operator], before[operator][1]
        )
        assert jax.tree.all(moved)

    dense, unread = strategy_of(config.decoder, precision, shape), batch(9, config) | {"neighbours": None}
    decoder = {name: state.params[name] for name in frozen}
    off, expected = strategy.evaluate(state.params, unread), dense.evaluate(decoder, unread)
    assert np.asarray(off).tobytes() == np.asarray(expected).tobytes()


@pytest.mark.parametrize("precision", POLICIES)
def test_frozen_parameters_have_no_place_in_the_optimiser(precision):
    config = small("gopher")
    state = strategy_of(config, precision, MeshShape(1, 2, 2), frozen_of(config)).like
    learning = jax.tree.leaves({name: state.params[name] for name in ("cca", "encoder")})
    mirrors = [leaf for leaf in jax.tree.leaves(state.optimiser) if leaf.ndim]
    copies = 3 if precision.endswith("copy") else 2
    assert [leaf.shape for leaf in mirrors] == [leaf.shape for leaf in learning] * copies
    assert [leaf.sharding for leaf in mirrors] == [leaf.sharding for leaf in learning] * copies


def test_what_is_trained_is_trained_as_if_it_were_alone():
    """A frozen operator's gradient, however large, takes no part in the clip by the global norm."""

    def loss(params, batch):
        return jnp.sum(params["learns"] * batch) + 1e6 * jnp.sum(params["stays"]), {}

    params, x = {"learns": jnp.ones(3), "stays": jnp.ones(4)}, jnp.asarray([3.0, 0.0, 4.0])
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0))
    trained = Objective(lambda key: {}, loss, loss, lambda count: [])
    frozen, optimiser = freeze({"stays"}, trained, optimiser_under("float32", clipped))
    kept, state = optimiser.init(params)
    gradients = jax.grad(frozen.loss, has_aux=True)(params, x)[0]
    assert not gradients["stays"].any()
    after, _ = optimiser.update(gradients, state, kept, jnp.int32(0))
    np.testing.assert_allclose(after["learns"], 1 - x / 5, rtol=1e-6)
    np.testing.assert_array_equal(after["stays"], params["stays"])


@pytest.mark.parametrize("backbone", ["gopher", "palm"])
def test_frozen_parameters_cost_no_gradient(backbone):
    """The matrix products that the traced gradient spares are those that the accountant subtracts, but for
    what it never counts, to the last operation.
    """
    config = small(backbone, layers=2)
    one = batch(0, config)
    trained = objective(build(config), "retro", "float32")
    frozen, _ = freeze(frozen_of(config), trained, optimiser_under("float32", optax.sgd(1.0)))
    params = parameter_shapes(config)
    whole, part = (
        product_flops(jax.make_jaxpr(jax.grad(f, has_aux=True))(params, one).jaxpr)
        for f in (trained.loss, frozen.loss)
    )
    counted, frozen_counted = (
        flops(config, LENGTH, batch_size=BATCH) for flops in (train_flops_per_token, retrofit_flops_per_token)
    )
    # Both layers' logits are computed again, and Gopher's have a position term there and in two gradients.
    square = 2 * config.decoder.num_heads * config.decoder.head_size * LENGTH
    never = {"palm": 2, "gopher": 8}[backbone] * square
    idle = {"palm": 96 + 64, "gopher": 288 + 224}[backbone]  # norms and biases: of all, of what lies below
    assert whole - part == BATCH * LENGTH * (counted - frozen_counted + never - 2 * idle)
