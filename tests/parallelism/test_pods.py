"""Pods train as one mesh does, stay equal bit for bit, and nobody waits for anybody. That they train every
family alike is in test_strategies.py.
"""

import itertools
import json
import threading
from functools import cache

import jax
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding

from errors import InputError
from parallelism.interface import Parallelism
from parallelism.mesh import AXES, MeshShape, make_mesh, of_shards
from parallelism.strategies.pods import pods
from parallelism.strategies.spmd import spmd
from tests.many_processes import SECONDS, ends, start_all
from tests.parallelism.perceptrons import LAYERS, PARAMETERS, WIDTH, batch, perceptrons
from training.checkpoints import Checkpoints, fingerprint
from training.freezing import freeze
from training.precision import optimiser_under

STEPS, ROWS = 3, 24
TOLERANCE = 1e-5  # float32 sums in another order, over STEPS updates
OF_ROUNDING = 2e-2  # 2⁻⁸ of each gradient, of which an update takes up to three times
OPTIMISER = optimiser_under("float32", optax.sgd(0.3, momentum=0.9))


def made(maker, shape, objective=None, optimiser=OPTIMISER, observe=None, **how):
    mesh = make_mesh(shape, jax.devices()[: shape.size])
    observing = {"observe": observe} if observe else {}
    return maker(objective or perceptrons(), optimiser, mesh, Parallelism(**how), **observing)


@cache
def initial():
    """A state, on no device."""
    return jax.device_get(made(spmd, MeshShape()).init(jax.random.key(0)))


def started(strategy):
    """That state, where the strategy has it."""
    return jax.device_put(initial(), jax.tree.map(lambda leaf: leaf.sharding, strategy.like))


def trained(strategy, check=lambda state: None, start=started):
    """(reports, final state) of STEPS steps."""
    state, reports = start(strategy), []
    for step in range(STEPS):
        state, report = strategy.step(state, batch(step, ROWS))
        check(state)
        reports.append(report)
    return jax.device_get((reports, state))


@cache
def expected():
    """The same on one device."""
    return trained(made(spmd, MeshShape()))


def close(actual, expected, tolerance):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), actual, expected
    )


def of_pod(state, number):
    """The copy of `state` that the pod has."""

    def view(x):
        whole = x.sharding.mesh
        pod = Mesh(whole.devices[number : number + 1], AXES, axis_types=whole.axis_types)
        return of_shards(NamedSharding(pod, x.sharding.spec), x.shape, [x])

    return jax.device_get(jax.tree.map(view, state))


# What is computed.


@pytest.mark.parametrize(
    "shape, exchange",
    [
        (MeshShape(2, 2, 2), "float32"),
        (MeshShape(2, 1, 1), "bfloat16"),
        (MeshShape(3, 1, 1), "float32"),
        (MeshShape(3, 1, 1), "bfloat16"),
        (MeshShape(4, 1, 1), "float32"),
        (MeshShape(4, 1, 1), "bfloat16"),
    ],
    ids=str,
)
def test_pods_stay_equal_and_train_as_one_mesh(shape, exchange):
    size = np.dtype(exchange).itemsize
    sent, parts = {}, set()

    def count(transfer):
        pair = transfer.sender, transfer.receiver
        sent[pair] = sent.get(pair, 0) + sum(x.nbytes for x in transfer.sent.values())
        parts.add(transfer.part)

    def alike(state):
        hashes = {fingerprint(of_pod(state, pod)) for pod in range(shape.pod)}
        assert len(hashes) == 1

    result = trained(made(pods, shape, exchange=exchange, observe=count), alike)
    close(result, expected(), TOLERANCE if exchange == "float32" else OF_ROUNDING)
    assert sent == dict.fromkeys(itertools.permutations(range(shape.pod), 2), STEPS * size * PARAMETERS)
    assert parts == set(range(LAYERS))


@cache
def partitioned_over_two():
    return made(pods, MeshShape(2, 2, 1), zero=1, micro_batches=3)


def test_partitioned_state_and_micro_batches():
    close(trained(partitioned_over_two()), expected(), TOLERANCE)


def test_what_is_frozen_is_not_sent():
    sent = []
    frozen = freeze(("embedding",), perceptrons(), OPTIMISER)
    strategy = made(
        pods, MeshShape(2, 1, 1), *frozen, observe=lambda transfer: sent.extend(transfer.sent.values())
    )
    actual, expected = (
        trained(runs, start=lambda runs: runs.init(jax.random.key(0)))
        for runs in (strategy, made(spmd, MeshShape(), *frozen))
    )
    close(actual, expected, TOLERANCE)
    assert sum(x.size for x in sent) == STEPS * 2 * LAYERS * 2 * WIDTH * WIDTH


def test_the_state_is_one_tree_of_arrays_over_the_whole_mesh(tmp_path):
    strategy = partitioned_over_two()
    initial = strategy.init(jax.random.key(0))
    state, report = strategy.step(initial, batch(0, ROWS))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(initial))
    for leaf, like in zip(jax.tree.leaves(state), jax.tree.leaves(strategy.like), strict=True):
        assert (leaf.sharding, leaf.shape, leaf.dtype) == (like.sharding, like.shape, like.dtype)
    assert all(value.sharding.mesh == strategy.like.step.sharding.mesh for value in report.values())
    Checkpoints(tmp_path).save(1, state)
    _, restored = Checkpoints(tmp_path).restore(made(spmd, MeshShape(1, 2, 2)).like)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored), jax.device_get(state))


def test_a_batch_that_the_pods_do_not_divide_is_refused():
    strategy = made(pods, MeshShape(3, 1, 1))
    with pytest.raises(InputError, match="3 ways.*8 sequences"):
        strategy.step(None, batch(0, 8))


# Who waits for whom. A gate shut stops a device; were anybody to wait for it, it would open by itself after
# SECONDS, and the test would see results where there can be none. Pods have two devices: a CPU's client runs a
# small program for one device itself.

FORWARD, BACKWARD = threading.Event(), threading.Event()


def gate(event):
    """x -> x, once the event has come."""

    def wait(x):
        event.wait(SECONDS)
        return np.asarray(x)

    return lambda x: jax.pure_callback(wait, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


@jax.custom_vjp
def gated(x):
    return gate(FORWARD)(x)


gated.defvjp(lambda x: (gated(x), None), lambda _, gradient: (gate(BACKWARD)(gradient),))


@cache
def gated_pods():
    """(strategy, transfers as they happen): the first layer's output passes FORWARD, its gradient BACKWARD."""
    transfers = []
    objective = perceptrons(lambda layer, x: gated(x) if layer == 0 else x)
    strategy = made(pods, MeshShape(2, 2, 1), objective, observe=transfers.append)
    FORWARD.set(), BACKWARD.set()
    trained(strategy)  # everything is compiled
    return strategy, transfers


def test_the_next_step_is_enqueued_before_this_one_is_done():
    strategy, _ = gated_pods()
    state = started(strategy)
    FORWARD.clear()
    reports = []
    for step in range(STEPS):
        state, report = strategy.step(state, batch(step, ROWS))
        reports.append(report)
    assert not any(value.is_ready() for report in reports for value in report.values())
    assert not any(leaf.is_ready() for leaf in jax.tree.leaves(state))
    FORWARD.set()
    close(jax.device_get((reports, state)), expected(), TOLERANCE)


def test_gradients_arrive_while_the_backward_pass_still_runs():
    strategy, transfers = gated_pods()
    state = started(strategy)
    transfers.clear(), BACKWARD.clear()
    _, report = strategy.step(state, batch(0, ROWS))
    of_part = {part: [transfer for transfer in transfers if transfer.part == part] for part in range(LAYERS)}
    for transfer in of_part[LAYERS - 1]:
        close(jax.device_get(transfer.received), jax.device_get(transfer.sent), 0)
    assert not any(x.is_ready() for transfer in of_part[0] for x in transfer.received.values())
    assert not report["grad_norm"].is_ready()
    BACKWARD.set()
    jax.block_until_ready(report)


# Every pod a process of its own.

POD = """
import json, os, signal, sys
from processes.start import start
team = start({})
import jax
from parallelism.mesh import MeshShape
from parallelism.strategies.pods import pods
from tests.parallelism.perceptrons import batch
from tests.parallelism.test_pods import ROWS, STEPS, made
from training.checkpoints import Checkpoints, fingerprint

folder, victim = sys.argv[1:]
strategy = made(pods, MeshShape(2, 2, 1), exchange="bfloat16")
checkpoints, first = Checkpoints(folder), 0
if checkpoints.latest() is None:
    state = strategy.init(jax.random.key(0))
else:
    first, state = checkpoints.restore(strategy.like)
rows = strategy.rows(ROWS)
try:
    for step in range(first, STEPS):
        if step == STEPS - 1 and victim == str(jax.process_index()):
            os.kill(os.getpid(), signal.SIGKILL)
        state, report = strategy.step(state, jax.tree.map(lambda x: x[rows], batch(step, ROWS)))
        checkpoints.save(step + 1, state)
except Exception:
    team.await_verdict()
    raise
own = jax.tree.map(lambda x: [shard.data for shard in x.addressable_shards], state)
print(json.dumps([first, fingerprint(jax.device_get(own)), float(report["loss"])]), flush=True)
team.farewell()
"""


def test_a_process_per_pod_which_may_die(tmp_path):
    """The run of two processes, of which one is killed, ends as that of one process does."""
    died = ends(start_all(["-c", POD, tmp_path, 1], devices=2))
    assert died[0][0] != 0
    assert "Process 1 of this run is gone" in died[0][2] and "with the same command" in died[0][2]
    results = ends(start_all(["-c", POD, tmp_path, "nobody"], devices=2))
    assert [code for code, _, _ in results] == [0, 0], results
    printed = [json.loads(out.splitlines()[-1]) for _, out, _ in results]  # gloo says something before
    one_process = made(pods, MeshShape(2, 2, 1), exchange="bfloat16")
    reports, state = trained(one_process)
    assert printed[0] == printed[1]
    first, _, loss = printed[0]
    assert first == STEPS - 1
    assert loss == pytest.approx(float(reports[-1]["loss"]), rel=TOLERANCE)
    _, restored = Checkpoints(tmp_path).restore(one_process.like)
    close(jax.device_get(restored), state, TOLERANCE)
