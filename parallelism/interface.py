"""What a strategy is made from, and what it gives.

Every strategy keeps the same state, a tree of global arrays under the parameters' own names: checkpoints,
evaluation and resumption do not know which strategy made it. One that runs several programs on parts of the
mesh looks at its shards of that tree.

Losses are sums over tokens, so that those of micro-batches, pods and processes add up; the total weight of
the global batch divides once, at the end.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from errors import InputError


class TrainState(NamedTuple):
    """What a step changes and a checkpoint holds. step: updates made so far, a scalar."""

    step: jax.Array
    params: Any
    optimiser: Any


class Optimiser(NamedTuple):
    """How gradients change parameters, and in what precision these are kept (`training.precision`).

    init: parameters as initialised, float32 -> (parameters as kept, optimiser state).
    update: (gradients float32, optimiser state, parameters as kept, step) -> (parameters, optimiser state).
    """

    init: Callable[[Any], tuple[Any, Any]]
    update: Callable[[Any, Any, Any, jax.Array], tuple[Any, Any]]


class Part(NamedTuple):
    """A range of a model's depth: a pipeline's stage, a piece of a backward pass.

    take: params -> those that the part reads: its layers, and at both ends the embedding.
    apply: (what take gave, carry, batch) -> carry. The first is given None, the last returns what a loss
    does.
    """

    take: Callable[[Any], Any]
    apply: Callable[[Any, Any, Any], Any]


class Objective(NamedTuple):
    """What is trained. batch: a tree of arrays [B, ...].

    init: key -> params.
    loss: (params, batch) -> (sum over tokens to descend, {"weight": Σ w, ... other sums to report}).
    metric: (params, batch) -> a tree of arrays [B, ...], for evaluation.
    parts: n -> n parts of about equal depth, which one after the other are `loss`.
    """

    init: Callable[[jax.Array], Any]
    loss: Callable[[Any, Any], tuple[jax.Array, dict[str, jax.Array]]]
    metric: Callable[[Any, Any], Any]
    parts: Callable[[int], list[Part]]


@dataclass(frozen=True)
class Parallelism:
    """How a step is spread over a mesh."""

    strategy: Literal["mesh", "pods", "pipeline", "pmap"] = "mesh"
    """One program over the whole mesh; one per pod; one per pipeline stage; or pmap, data parallel alone."""
    zero: Literal[1, 3] = 3
    """ZeRO: 3 shards parameters, gradients and optimiser state over data, 1 the optimiser state alone."""
    micro_batches: int = 1
    """Parts that a batch is cut into, one after another."""
    exchange: Literal["float32", "bfloat16"] = "float32"
    """In which pods send each other their gradients."""
    schedule: Literal["1f1b", "gpipe"] = "1f1b"
    """In which a pipeline's stages work."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, known = getattr(self, field.name), get_args(field.type)
            if known and value not in known:
                names = ", ".join(map(str, known))
                raise InputError(f"There is no {field.name} {value!r}; choose one of {names}.")
        if self.micro_batches < 1:
            raise InputError(f"micro_batches {self.micro_batches}: give a whole number of at least 1.")


@dataclass(frozen=True)
class Strategy:
    """How a model is trained and evaluated, whatever lies beneath.

    init: key -> TrainState, laid out.
    like: TrainState of shapes with shardings, what a checkpoint is restored onto; nothing is allocated.
    step: (TrainState, batch) -> (TrainState, {"loss", "grad_norm", ...} scalars). The state given is used up.
    evaluate: (params, batch) -> what the objective's metric returns, on every process in full.
    rows: size of the global batch -> which of its rows this process supplies; `step` and `evaluate` are
    given these alone.
    lower: batch of shapes -> the program of a train step, uncompiled; None where a step is several programs.
    """

    init: Callable[[jax.Array], TrainState]
    like: TrainState
    step: Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]
    evaluate: Callable[[Any, Any], Any]
    rows: Callable[[int], np.ndarray]
    lower: Callable[[Any], jax.stages.Lowered] | None = None


def float32(gradients: Any) -> Any:
    """The tree in the precision in which gradients are summed."""
    return jax.tree.map(lambda gradient: gradient.astype(jnp.float32), gradients)


def gradient_sums(loss: Callable, params: Any, batch: Any) -> tuple[Any, tuple[jax.Array, dict]]:
    """(gradients in float32, (sum, sums)) of an objective's loss."""
    value, gradients = jax.value_and_grad(loss, has_aux=True)(params, batch)
    return float32(gradients), value


def updated(
    optimiser: Optimiser, state: TrainState, gradients: Any, value: tuple[jax.Array, dict[str, jax.Array]]
) -> tuple[TrainState, dict[str, jax.Array]]:
    """What a step returns, from what `gradient_sums` gave, added up over the global batch."""
    total, sums = value
    weight = jnp.maximum(sums["weight"], 1.0)
    gradients = jax.tree.map(lambda gradient: gradient / weight, gradients)
    means = {name: amount / weight for name, amount in sums.items() if name != "weight"}
    report = {"loss": total / weight, "grad_norm": optax.global_norm(gradients), **means}
    kept = optimiser.update(gradients, state.optimiser, state.params, state.step)
    return TrainState(state.step + 1, *kept), report
