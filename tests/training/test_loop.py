"""The loop: resumes bit for bit, and stops at the first number that is none."""

import dataclasses
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from parallelism.interface import Objective, Strategy
from parallelism.mesh import MeshShape, make_mesh
from parallelism.strategies.spmd import spmd
from training.checkpoints import Checkpoints
from training.loop import CHECKPOINTS, Diverged, Training, train
from training.metrics import read_metrics
from training.precision import POLICIES, cast_for_compute, optimiser_under


def training(steps):
    return Training(
        steps,
        seed=0,
        checkpoint_every=3,
        tokens_per_step=10,
        flops_per_token=1.0,
        peak_flops=1e9,
        label="model",
        configuration={"d_model": 8},
    )


def strategy(precision="float32") -> Strategy:
    """Least squares."""

    def loss(params, batch):
        w = cast_for_compute(params, precision)["output"]["w"]
        squares = jnp.square(batch["x"] @ w - 1.0)
        return jnp.sum(squares), {"nats": jnp.sum(squares), "weight": jnp.float32(squares.size)}

    mesh = make_mesh(MeshShape(), jax.devices()[:1])
    return spmd(
        Objective(
            init=lambda key: {"output": {"w": jax.random.normal(key, (4, 2))}},
            loss=loss,
            metric=lambda p, b: None,
            parts=lambda count: [],
        ),
        optimiser_under(precision, optax.adam(0.1)),
        mesh,
    )


def batches(poisoned=None):
    def batch(step):
        x = np.random.default_rng(step).normal(size=(8, 4)).astype(np.float32)
        return {"x": x * np.nan if step == poisoned else x}

    return batch


def rate(step):
    return 0.1


@pytest.mark.parametrize("precision", POLICIES)
def test_interrupted_equals_uninterrupted(tmp_path, precision):
    whole = train(training(10), strategy(precision), batches(), rate, tmp_path / "whole")

    def interrupted(step):
        if step == 7:
            raise KeyboardInterrupt
        return batches()(step)

    with pytest.raises(KeyboardInterrupt):
        train(training(10), strategy(precision), interrupted, rate, tmp_path / "parts")
    assert Checkpoints(tmp_path / "parts" / CHECKPOINTS).latest() == 6
    parts = train(training(10), strategy(precision), batches(), rate, tmp_path / "parts")
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts)):
        assert a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()
    losses, again = ([line["loss"] for line in read_metrics(tmp_path / name)] for name in ("whole", "parts"))
    assert losses == again and len(losses) == 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_saves_the_step_in_flight(tmp_path, number):
    """The batch of step 7 is made while the step before it, which makes the seventh update, is in flight."""

    def asked_at_seven(step):
        if step == 7:
            os.kill(os.getpid(), number)
        return batches()(step)

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        train(training(10), strategy(), asked_at_seven, rate, tmp_path)
    assert Checkpoints(tmp_path / CHECKPOINTS).latest() == 7
    assert [line["step"] for line in read_metrics(tmp_path)] == list(range(1, 8))
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("steps", [range(2, 4), range(8, 20)])
def test_the_steps_that_are_asked_for_are_traced_and_nothing_changes(tmp_path, steps):
    traced = dataclasses.replace(training(10), profile=steps)
    with_trace = train(traced, strategy(), batches(), rate, tmp_path / "traced")
    plain = train(training(10), strategy(), batches(), rate, tmp_path / "plain")
    for a, b in zip(jax.tree.leaves(with_trace), jax.tree.leaves(plain)):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    assert list((tmp_path / "traced").glob("profile/**/perfetto_trace.json.gz"))
    assert not (tmp_path / "plain/profile").exists()


def test_finished_runs_are_not_run_again(tmp_path):
    train(training(4), strategy(), batches(), rate, tmp_path)

    def never(step):
        raise AssertionError("a finished run asked for a batch")

    assert int(train(training(4), strategy(), never, rate, tmp_path).step) == 4


@pytest.mark.parametrize("step", [4, 5, 6])  # a checkpoint is due after step 6
def test_nan_names_the_step_and_the_last_good_checkpoint(tmp_path, step):
    message = rf"nan .* at step {step}; .*last good checkpoint is step 3 in .*checkpoints"
    with pytest.raises(Diverged, match=message):
        train(training(10), strategy(), batches(poisoned=step - 1), rate, tmp_path)
    assert Checkpoints(tmp_path / CHECKPOINTS).latest() == 3
    assert [line["step"] for line in read_metrics(tmp_path)] == list(range(1, step))


def test_reports_are_read_one_step_late_but_before_a_checkpoint(tmp_path):
    given, lines = strategy(), []

    def step(state, batch):
        lines.append(len(read_metrics(tmp_path)))
        return given.step(state, batch)

    train(training(6), dataclasses.replace(given, step=step), batches(), rate, tmp_path)
    assert lines == [0, 0, 1, 3, 3, 4]


def test_an_implicit_transfer_in_a_step_is_refused(tmp_path):
    given = strategy()
    total = jax.jit(lambda batch: batch["x"].sum())

    def step(state, batch):
        total(batch)
        return given.step(state, batch)

    with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device transfer"):
        train(training(2), dataclasses.replace(given, step=step), batches(), rate, tmp_path)


def test_metrics_carry_what_a_person_watches(tmp_path):
    train(training(3), strategy(), batches(), rate, tmp_path)
    line = read_metrics(tmp_path)[-1]
    assert {
        "step",
        "loss",
        "grad_norm",
        "nats",
        "learning_rate",
        "seconds",
        "tokens_per_second",
        "mfu",
    } <= line.keys()
    assert line["mfu"] == pytest.approx(line["tokens_per_second"] / 1e9)
