"""One program, any mesh: what lies where, evaluation, and precision. That every mesh trains alike is shown by
test_strategies.py.
"""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from errors import InputError
from models.decoder import Neighbours
from models.families import build, configuration
from parallelism.interface import Parallelism
from parallelism.mesh import MeshShape, make_mesh
from parallelism.strategies.spmd import spmd
from tests.models.small import initialised
from tests.parallelism.drawn_states import drawn_state, laid_out
from training.objective import objective
from training.precision import COPY, POLICIES, STOCHASTIC, optimiser_under
from training.recipes import recipe

STEPS, LENGTH, BATCH, VOCAB = 4, 128, 8, 64
# float32 sums in another order: a relative difference of a few 1e-7 per step, magnified by Adam's division.
TOLERANCE = 2e-5
SHAPES = [
    MeshShape(pod, data, model)
    for pod in (1, 2, 4, 8) for data in (1, 2, 4, 8) for model in (1, 2, 4, 8) if pod * data * model <= 8
]  # fmt: skip


def tiny(family):
    """Eight heads, so that every mesh divides them."""
    gopher = dataclasses.replace(
        configuration("gopher/smoke"), num_heads=8, head_size=4, vocab_size=VOCAB, num_layers=1
    )
    if family == "gopher":
        return gopher
    if family == "palm":
        return dataclasses.replace(
            configuration("palm/smoke"), num_heads=8, head_size=4, vocab_size=VOCAB, num_layers=1
        )
    return dataclasses.replace(
        configuration("retro/smoke"),
        decoder=gopher,
        cca_layers=(1,),
        encoder_layers=1,
        encoder_num_heads=8,
        encoder_head_size=4,
    )


def batch(family, step, rows=BATCH):
    random = np.random.default_rng(step)
    tokens = random.integers(0, VOCAB, (rows, LENGTH + 1)).astype(np.int32)
    near = None
    if family == "retro":
        shape = (rows, LENGTH // 64, 2, 128)
        near = Neighbours(random.integers(0, VOCAB, shape).astype(np.int32), random.random(shape) < 0.9)
    weights = (random.random((rows, LENGTH)) < 0.9).astype(np.float32)
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weights": weights, "neighbours": near}


def strategy_of(family, shape, precision="float32", how=Parallelism()):
    model = build(tiny(family))
    mesh = make_mesh(shape, jax.devices()[: shape.size])
    optimiser = optimiser_under(precision, recipe(family, STEPS))
    return spmd(objective(model, family, precision), optimiser, mesh, how)


def losses_of(family, shape, initial, precision="float32"):
    """The losses of STEPS steps from the parameters and moments `initial`, laid out on the mesh."""
    strategy = strategy_of(family, shape, precision)
    state, losses = laid_out(initial, strategy), []
    for step in range(STEPS):
        state, report = strategy.step(state, batch(family, step))
        losses.append(float(report["loss"]))
    return losses


@cache
def evaluated_alone(family):
    """(parameters, evaluation) on one device."""
    _, params = initialised(tiny(family))
    return params, np.asarray(strategy_of(family, MeshShape()).evaluate(params, batch(family, STEPS)))


# RETRO's decoder is Gopher's.
BY_FAMILY = ["palm", pytest.param("gopher", marks=pytest.mark.exhaustive), "retro"]
BY_SHAPE = [pytest.param(MeshShape(1, 1, 8), marks=pytest.mark.exhaustive), MeshShape(2, 2, 2)]


@pytest.mark.parametrize("family", BY_FAMILY)
@pytest.mark.parametrize("shape", BY_SHAPE, ids=str)
def test_evaluation_does_not_depend_on_the_mesh(family, shape):
    params, evaluation = evaluated_alone(family)
    spread = strategy_of(family, shape).evaluate(params, batch(family, STEPS))
    np.testing.assert_allclose(spread, evaluation, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("family", BY_FAMILY)
def test_initialisation_does_not_depend_on_the_mesh(family):
    alone = strategy_of(family, MeshShape()).init(jax.random.key(0))
    spread = strategy_of(family, MeshShape(2, 2, 2)).init(jax.random.key(0))
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(spread)):
        assert (np.asarray(a) == np.asarray(b)).all()


def test_state_is_sharded_as_the_rules_say():
    strategy = strategy_of("gopher", MeshShape(1, 2, 4))
    up = strategy.init(jax.random.key(0)).params["feed_forward"]["feed_forward/up"]["w"]
    assert up.addressable_shards[0].data.size == up.size // 8


def test_a_batch_that_the_mesh_does_not_divide_is_refused():
    strategy = strategy_of("palm", MeshShape(1, 8, 1))
    with pytest.raises(InputError, match="8 ways.*3 sequences.*batch size that is a multiple of 8"):
        strategy.step(None, batch("palm", 0, rows=3))


@pytest.mark.parametrize(
    ("shape", "precision"),
    [
        pytest.param(shape, precision, marks=[] if often else [pytest.mark.exhaustive])
        for shape in SHAPES
        for precision in POLICIES
        for often in [
            precision == COPY or shape == MeshShape(2, 2, 2)
        ]  # the copy mirrors them besides moments
    ],
    ids=str,
)
def test_whatever_mirrors_the_parameters_lies_where_they_do(shape, precision):
    state = strategy_of("palm", shape, precision).like
    places = [leaf.sharding for leaf in jax.tree.leaves(state.params)]
    mirrors = [leaf.sharding for leaf in jax.tree.leaves(state.optimiser) if leaf.ndim]
    assert mirrors == places * (3 if precision == COPY else 2)


def test_bfloat16_parameters_train_on_a_mesh():
    """Sums of bfloat16 in another order differ by its spacing, a few thousandths."""
    initial = drawn_state(tiny("palm"), optimiser_under(STOCHASTIC, recipe("palm", STEPS)))
    alone, spread = (
        losses_of("palm", shape, initial, STOCHASTIC) for shape in (MeshShape(), MeshShape(2, 2, 2))
    )
    np.testing.assert_allclose(spread, alone, rtol=5e-3)


def test_mixed_precision_stays_near_float32():
    model, params = initialised(tiny("gopher"))
    one = jax.tree.map(jnp.asarray, batch("gopher", 0))
    exact, mixed = (
        float(jax.jit(objective(model, "gopher", precision).loss)(params, one)[0])
        for precision in ("float32", "mixed")
    )
    assert exact != mixed
    assert mixed == pytest.approx(exact, rel=1e-2)
    strategy = strategy_of("gopher", MeshShape(), "mixed")
    initial = drawn_state(tiny("gopher"), optimiser_under("mixed", recipe("gopher", STEPS)))
    state, _ = strategy.step(laid_out(initial, strategy), one)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(state.params))
