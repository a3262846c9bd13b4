"""The same training by pmap as by one program over a mesh."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from errors import InputError
from models.families import build, configuration
from parallelism.interface import Parallelism
from parallelism.mesh import MeshShape, make_mesh
from parallelism.strategies.pmap import pmap
from parallelism.strategies.spmd import spmd
from training.checkpoints import Checkpoints
from training.objective import objective
from training.precision import optimiser_under
from training.recipes import recipe

STEPS, LENGTH, BATCH, VOCAB = 3, 16, 8, 64
TOLERANCE = 1e-5  # float32 sums in another order, over STEPS updates
CONFIG = dataclasses.replace(
    configuration("palm/smoke"), num_heads=2, head_size=4, vocab_size=VOCAB, num_layers=1
)


def batch(step, rows=BATCH):
    random = np.random.default_rng(step)
    tokens = random.integers(0, VOCAB, (rows, LENGTH + 1)).astype(np.int32)
    weights = (random.random((rows, LENGTH)) < 0.9).astype(np.float32)
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weights": weights, "neighbours": None}


def made(maker, shape, **how):
    optimiser = optimiser_under("float32", recipe("palm", STEPS))
    mesh = make_mesh(shape, jax.devices()[: shape.size])
    return maker(objective(build(CONFIG), "palm", "float32"), optimiser, mesh, Parallelism(**how))


@functools.cache
def over_four_devices():
    return made(pmap, MeshShape(2, 2, 1), micro_batches=2)


def trained(strategy):
    state, reports = strategy.init(jax.random.key(0)), []
    for step in range(STEPS):
        state, report = strategy.step(state, batch(step))
        reports.append(report)
    return reports, state.params


def test_pmap_is_one_program_over_the_mesh():
    expected, result = jax.device_get([trained(made(spmd, MeshShape())), trained(over_four_devices())])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE), result, expected
    )


def test_the_state_is_everybodys_and_its_buffers_are_used_again(tmp_path):
    """What a step returns lies as `like` says, in the memory of what it was given, equal on all devices."""
    strategy = over_four_devices()
    initial = strategy.init(jax.random.key(0))
    memory = {leaf.unsafe_buffer_pointer() for leaf in shards_of(initial)}
    state, _ = strategy.step(initial, batch(0))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(initial))
    assert memory == {leaf.unsafe_buffer_pointer() for leaf in shards_of(state)}
    for leaf, like in zip(jax.tree.leaves(state), jax.tree.leaves(strategy.like), strict=True):
        assert leaf.sharding == like.sharding and leaf.dtype == like.dtype
        assert all((np.asarray(shard.data) == np.asarray(leaf)).all() for shard in leaf.addressable_shards)
    Checkpoints(tmp_path).save(1, state)
    elsewhere = made(spmd, MeshShape(1, 2, 2))
    _, restored = Checkpoints(tmp_path).restore(elsewhere.like)
    jax.tree.map(np.testing.assert_array_equal, restored, state)


def shards_of(tree):
    return [shard.data for leaf in jax.tree.leaves(tree) for shard in leaf.addressable_shards]


def test_a_model_axis_is_refused():
    with pytest.raises(InputError, match="pmap is data parallel alone.*2 ways"):
        made(pmap, MeshShape(1, 2, 2))


def test_a_batch_that_the_devices_do_not_divide_is_refused():
    strategy = over_four_devices()
    with pytest.raises(InputError, match="4 ways.*2 ways.*12 sequences"):
        strategy.step(None, batch(0, rows=12))
