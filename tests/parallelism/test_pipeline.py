"""A pipeline gives what one program gives, GPipe and 1F1B bit for bit the same, and a stage holds what the
papers say.
"""

import dataclasses
import functools
import weakref

import jax
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

from errors import InputError
from models.families import build, configuration, with_decoder_fields
from parallelism.interface import Parallelism
from parallelism.mesh import AXES, MeshShape, make_mesh
from parallelism.strategies.pipeline import pipeline, view_on
from parallelism.strategies.schedules import FORWARD
from parallelism.strategies.spmd import spmd
from tests.parallelism.drawn_states import drawn_state, laid_out
from training.objective import objective
from training.precision import optimiser_under
from training.recipes import recipe

STEPS, LENGTH, BATCH, VOCAB = 3, 16, 8, 64
# Sums in another order, over STEPS updates; in bfloat16, whose spacing is 8e-3, gradients are rounded in between.
TOLERANCES = {"float32": 1e-5, "mixed": 2e-3}
# Gopher by SGD: Adam divides by the gradient's own size, and on the slow sinusoids of relative attention, which
# the softmax all but cancels, that is the size of rounding.
OPTIMISERS = {"palm": recipe("palm", STEPS), "gopher": optax.sgd(0.1, momentum=0.9)}


def tiny(family, layers):
    return with_decoder_fields(
        configuration(f"{family}/smoke"), num_heads=4, head_size=4, vocab_size=VOCAB, num_layers=layers
    )


@functools.cache
def objective_of(family, layers, precision):
    return objective(build(tiny(family, layers)), family, precision)


def batch(step, rows=BATCH):
    random = np.random.default_rng(step)
    tokens = random.integers(0, VOCAB, (rows, LENGTH + 1)).astype(np.int32)
    weights = (random.random((rows, LENGTH)) < 0.9).astype(np.float32)
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weights": weights, "neighbours": None}


def made(maker, family, shape, layers, micro_batches, precision="float32", **how):
    mesh = make_mesh(shape, jax.devices()[: shape.size])
    optimiser = optimiser_under(precision, OPTIMISERS[family])
    observe = {"observe": how.pop("observe")} if "observe" in how else {}
    how = Parallelism(micro_batches=micro_batches, **how)
    return maker(objective_of(family, layers, precision), optimiser, mesh, how, **observe)


def trained(strategy, initial):
    """(reports, parameters) after STEPS steps from `initial`."""
    state, reports = laid_out(initial, strategy), []
    for step in range(STEPS):
        state, report = strategy.step(state, batch(step))
        reports.append(report)
    return jax.device_get((reports, state.params))


@functools.cache
def plainly_trained(family, layers, micro_batches, precision):
    """(initial state, reports, parameters) on one device."""
    strategy = made(spmd, family, MeshShape(), layers, micro_batches, precision)
    initial = drawn_state(tiny(family, layers), optimiser_under(precision, OPTIMISERS[family]))
    return initial, *trained(strategy, initial)


class Holding:
    """Counts the inputs that exist by references that keep nothing alive: by stage, and the most there were."""

    def __init__(self, stages):
        self.references, self.peak = [{} for _ in range(stages)], [0] * stages

    def __call__(self, event):
        if event.task is None:
            return
        references = self.references[event.stage]
        if event.task.kind == FORWARD:
            held = jax.tree.leaves(event.inputs[event.task.micro_batch])[0]
            references[event.task.micro_batch] = weakref.ref(held)
        alive = sum(ref() is not None and not ref().is_deleted() for ref in references.values())
        self.peak[event.stage] = max(self.peak[event.stage], alive)


@pytest.mark.parametrize(
    "family, shape, precision, zero",
    [
        ("gopher", MeshShape(2, 1, 1), "mixed", 3),
        ("palm", MeshShape(2, 2, 2), "float32", 3),
        ("gopher", MeshShape(4, 2, 1), "float32", 1),
    ],
    ids=str,
)
def test_both_schedules_are_one_program_in_parts(family, shape, precision, zero):
    stages, micro_batches, tolerance = shape.pod, 4, TOLERANCES[precision]
    initial, *expected = plainly_trained(family, stages, micro_batches, precision)
    results, peaks = {}, {}
    for schedule in ("gpipe", "1f1b"):
        holding = Holding(stages)
        how = {"schedule": schedule, "zero": zero, "observe": holding}
        strategy = made(pipeline, family, shape, stages, micro_batches, precision, **how)
        results[schedule], peaks[schedule] = list(trained(strategy, initial)), holding.peak
    assert jax.tree.all(jax.tree.map(np.array_equal, results["gpipe"], results["1f1b"]))
    assert peaks["gpipe"] == [micro_batches] * stages
    assert peaks["1f1b"] == [min(stages - stage, micro_batches) for stage in range(stages)]
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance),
        results["1f1b"],
        expected,
    )


def test_a_stage_reads_the_state_where_it_lies():
    strategy = made(pipeline, "gopher", MeshShape(2, 2, 2), 2, 2)
    initial = drawn_state(tiny("gopher", 2), optimiser_under("float32", OPTIMISERS["gopher"]))
    for leaf in jax.tree.leaves(laid_out(initial, strategy).params):
        theirs = {shard.device: shard.data.unsafe_buffer_pointer() for shard in leaf.addressable_shards}
        for pod in range(2):
            mesh = Mesh(leaf.sharding.mesh.devices[pod : pod + 1], AXES)
            for shard in view_on(leaf, mesh).addressable_shards:
                assert shard.data.unsafe_buffer_pointer() == theirs[shard.device]


def test_evaluation_is_that_of_the_whole_model():
    alone, strategy = made(spmd, "palm", MeshShape(), 2, 4), made(pipeline, "palm", MeshShape(2, 2, 1), 2, 4)
    initial, *_ = plainly_trained("palm", 2, 4, "float32")
    params = jax.device_put(initial.params, jax.tree.map(lambda leaf: leaf.sharding, strategy.like.params))
    expected = alone.evaluate(initial.params, batch(0))
    np.testing.assert_allclose(strategy.evaluate(params, batch(0)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "layers, stages, message",
    [(3, 2, "1 of the 3 layers of .*a number of pods that divides"), (2, 4, "2 layers cannot be cut into 4")],
)
def test_a_depth_that_the_stages_do_not_divide_is_refused(layers, stages, message):
    with pytest.raises(InputError, match=message):
        made(pipeline, "gopher", MeshShape(stages, 1, 1), layers, 2)


@pytest.mark.parametrize("layers, cca_layers", [(2, (1,)), (2, (1, 2))])
def test_retro_is_refused(layers, cca_layers):
    config = with_decoder_fields(configuration("retro/smoke"), num_layers=layers)
    config = dataclasses.replace(config, cca_layers=cca_layers)
    mesh = make_mesh(MeshShape(2, 1, 1), jax.devices()[:2])
    with pytest.raises(InputError, match=r"dense model \(palm, gopher\)"):
        pipeline(
            objective(build(config), "retro", "float32"), optimiser_under("float32", OPTIMISERS["palm"]), mesh
        )


def test_a_batch_that_micro_batches_do_not_divide_is_refused():
    strategy = made(pipeline, "gopher", MeshShape(4, 2, 1), 4, 4)
    with pytest.raises(InputError, match="4 micro-batches.*2 ways.*12 sequences.*a multiple of 8"):
        strategy.step(None, batch(0, rows=12))
