"""The strategy `pods`: programs of its own on every pod, which exchange gradients (PaLM section 4, figure 2).

Component A is a pod's forward and backward pass over its share of the batch, with the reduction inside the
pod; component B adds the gradients of all pods and makes the update, on every pod for itself. A is run part
by part, and the gradients of a part set out for the other pods before the backward pass of the next part is
enqueued, which their way can then hide behind. Nothing here waits for a device: a client enqueues the next
step while this one runs (Pathways: Barham et al. 2022, section 4.5).

Pods whose parameters differed in one bit would drift apart. So all of them add the same numbers, rounded for
the exchange even where they stay at home, in the same order.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from errors import InputError
from models.layers.axes import placed_by
from parallelism.interface import (
    Objective,
    Optimiser,
    Parallelism,
    Part,
    Strategy,
    TrainState,
    float32,
    updated,
)
from parallelism.mesh import AXES, global_batch_size, of_shards, require_divisible
from parallelism.rules import (
    PARAMETER_PLACEMENT,
    batch_sharding,
    global_batch,
    place_activation,
    replicated_over_data,
    state_shardings,
)
from parallelism.strategies.exchange import exchanged, in_order, rounded
from parallelism.strategies.spmd import spmd

PARTS = 4  # of the backward pass, and so of the exchange


class Piece(NamedTuple):
    """Rows start … stop − 1 of the parameters' leaf with this number."""

    leaf: int
    start: int
    stop: int


class Transfer(NamedTuple):
    """Gradients that have just set out from a pod to another one.

    part: the part whose backward pass completes them. sent, received: the same numbers on either pod, by
    piece of the parameters, [1, ...].
    """

    part: int
    sender: int
    receiver: int
    sent: Mapping[Piece, jax.Array]
    received: Mapping[Piece, jax.Array]


def pods(
    objective: Objective,
    optimiser: Optimiser,
    mesh: Mesh,
    how: Parallelism = Parallelism(strategy="pods"),  # noqa: B008 (frozen)
    observe: Callable[[Transfer], None] = lambda transfer: None,
) -> Strategy:
    """Makes the strategy: mesh.shape["pod"] pods that send each other gradients in `how.exchange`.

    One process runs all pods; of several, each runs those of its devices. Evaluation is one program over the
    whole mesh.

    Args:
      observe: called with every transfer between pods, where one process runs them all.
    """
    whole_mesh = spmd(objective, optimiser, mesh, how)
    params = jax.eval_shape(objective.init, jax.random.key(0))
    parts = _parts(objective)
    learns = [_pieces(part, params) for part in parts]
    meshes = [
        Mesh(mesh.devices[n : n + 1], AXES, axis_types=mesh.axis_types)
        for n, devices in enumerate(mesh.devices)
        if any(device.process_index == jax.process_index() for device in devices.flat)
    ]
    local = [_pod(pod, parts, learns, optimiser, params, whole_mesh.like, how.zero) for pod in meshes]
    shardings = jax.tree.map(lambda like: like.sharding, whole_mesh.like)

    def step(state, batch):
        require_divisible(mesh, global_batch_size(mesh, batch), how.micro_batches)
        states = [_laid_out(pod.shardings, [state]) for pod in local]
        gradients, values = component_a(
            [state.params for state in states], _cut(batch, local, how.micro_batches)
        )
        results = [pod.component_b(*inputs) for pod, *inputs in zip(local, states, gradients, values)]
        states, reports = zip(*results)
        everywhere = dict.fromkeys(reports[0], NamedSharding(mesh, PartitionSpec()))
        return _laid_out(shardings, states), _laid_out(everywhere, reports)

    def component_a(params, batches):
        """Enqueues it on all pods.

        Returns:
          By pod, what it has of every pod, for `in_order`: the gradients, by part; what the loss returned, by
          micro-batch.
        """
        sums: list[dict[Piece, jax.Array]] = [{} for _ in local]
        gradients, values = [], []
        for number, batch in enumerate(batches):
            carries, pulls = _forward(local, params, batch)
            values.append(carries)
            for part in _backward(local, pulls, sums):
                if number == how.micro_batches - 1:
                    gradients.append(sent(part, sums))
        return zip(*gradients), zip(*(exchanged(value, mesh, meshes) for value in values))

    def sent(part, sums):
        """Takes what the backward pass of `part` completes out of `sums` and to all pods."""
        # What several parts learn, such as the tied embedding, is complete with the first of them.
        complete = set(learns[part].values()).difference(*(learnt.values() for learnt in learns[:part]))
        own = [rounded({piece: pod.pop(piece) for piece in sorted(complete)}, how.exchange) for pod in sums]
        received = exchanged(own, mesh, meshes)
        if jax.process_count() == 1:
            for sender, receiver in itertools.permutations(range(len(local)), 2):
                observe(Transfer(part, sender, receiver, own[sender], received[receiver][sender]))
        return received

    return dataclasses.replace(whole_mesh, step=step, lower=None)


class _Pod(NamedTuple):
    """The programs of one pod, on a mesh pod 1 × data × model.

    shardings: of its copy of the training state.
    learns: by part, the pieces of the parameters that it has gradients of.
    forward: by part, (params, carry, batch) -> (carry, how to pull a gradient back through the part). The
    last carry is (total [1], sums [1]) of the loss.
    backward: by part, (that, gradient of the part's output, sums so far) -> (sums of the part's gradients by
    piece, [1, ...] float32, gradient of its carry). The sums given are used up.
    component_b: (state, gradients, values) -> what a step returns. The state given is used up.
    """

    mesh: Mesh
    shardings: TrainState
    learns: Sequence[Set[Piece]]
    forward: Sequence[Callable[..., tuple[Any, Any]]]
    backward: Sequence[Callable[..., tuple[dict[Piece, jax.Array], Any]]]
    component_b: Callable[..., tuple[TrainState, dict[str, jax.Array]]]


def _pod(
    mesh: Mesh,
    parts: Sequence[Part],
    learns: Sequence[Mapping[int, Piece]],
    optimiser: Optimiser,
    params: Any,
    like: TrainState,
    zero: int,
) -> _Pod:
    kept = PARAMETER_PLACEMENT if zero == 3 else replicated_over_data(PARAMETER_PLACEMENT)
    place = place_activation(mesh, kept)
    shardings = jax.tree.map(lambda leaf: NamedSharding(mesh, leaf.sharding.spec), like)
    partitioned = state_shardings(params, mesh)
    one = NamedSharding(mesh, PartitionSpec("pod"))

    def programs(part, learns, last):
        def forward(params, carry, batch):
            taken, tree = jax.tree.flatten(part.take(params))

            def run(learnt, carry):
                return part.apply(tree.unflatten(learnt.get(n, x) for n, x in enumerate(taken)), carry, batch)

            with placed_by(place):
                learnt = {n: taken[n] for n in learns}
                if not last:
                    return jax.vjp(run, learnt, carry)
                total, pull, sums = jax.vjp(run, learnt, carry, has_aux=True)
                return jax.tree.map(lambda x: x[None], (total, sums)), pull

        def backward(pull, descent, earlier):
            with placed_by(place):
                learnt, descent = pull(jnp.ones(()) if last else descent)
            sums = dict(earlier)
            for n, piece in learns.items():
                gradient = float32(learnt[n])[None]
                sums[piece] = sums[piece] + gradient if piece in sums else gradient
            return sums, descent

        leaves = jax.tree.leaves(partitioned)
        laid_out = {
            p: NamedSharding(mesh, PartitionSpec("pod", *leaves[p.leaf].spec)) for p in learns.values()
        }
        return (
            jax.jit(forward, out_shardings=(one if last else None, None)),
            jax.jit(backward, donate_argnums=2, out_shardings=(laid_out, None)),
        )

    def component_b(state, gradients, values):
        leaves, tree = jax.tree.flatten(params)
        sums = {piece: rows for part in gradients for piece, rows in in_order(part).items()}
        rows = [[sums[piece] for piece in sorted(sums) if piece.leaf == n] for n in range(len(leaves))]
        leaves = [jnp.concatenate(r) if r else jnp.zeros(leaf.shape) for r, leaf in zip(rows, leaves)]
        gradients = jax.lax.with_sharding_constraint(tree.unflatten(leaves), partitioned)
        # Under ZeRO stage 1 every device updates its share of the parameters, and then all are gathered.
        state = state._replace(params=jax.lax.with_sharding_constraint(state.params, partitioned))
        value = functools.reduce(lambda a, b: jax.tree.map(jnp.add, a, b), map(in_order, values))
        return updated(optimiser, state, gradients, value)

    jitted = [programs(*args) for args in zip(parts, learns, [False] * (len(parts) - 1) + [True])]
    update = jax.jit(component_b, donate_argnums=0, out_shardings=(shardings, None))
    forward, backward = zip(*jitted)
    return _Pod(mesh, shardings, [set(learnt.values()) for learnt in learns], forward, backward, update)


def _parts(objective: Objective) -> list[Part]:
    """PARTS parts, or as many as the model has layers."""
    for count in range(PARTS, 1, -1):
        with contextlib.suppress(InputError):
            return objective.parts(count)
    return objective.parts(1)


def _pieces(part: Part, params: Any) -> dict[int, Piece]:
    """Which pieces of the parameters `part` learns, by their number among the leaves that it takes."""
    # A part tells what it takes by taking from arrays whose rows are (number of the leaf, number of the row),
    # and what of it can learn (`training.freezing`) by the tangent.
    leaves, tree = jax.tree.flatten(params)
    sizes = [leaf.shape[0] for leaf in leaves]
    numbered = [np.stack([np.full(size, n), np.arange(size)], 1) for n, size in enumerate(sizes, start=1)]
    marks = tree.unflatten(np.asarray(rows, np.float32) for rows in numbered)
    _, taken = jax.jvp(part.take, (marks,), (marks,))
    ends = {
        n: (rows[0], rows[-1]) for n, rows in enumerate(jax.tree.leaves(jax.device_get(taken))) if rows.any()
    }
    return {n: Piece(int(a[0]) - 1, int(a[1]), int(b[1]) + 1) for n, (a, b) in ends.items()}


def _cut(batch: Any, local: Sequence[_Pod], micro_batches: int) -> list[list[Any]]:
    """By micro-batch and pod, the pod's rows; where a pod has several processes, each cuts up its own."""
    leaves, tree = jax.tree.flatten(batch)
    shares = zip(*(np.split(np.asarray(x), len(local) * micro_batches) for x in leaves))
    rows = [tree.unflatten(arrays) for arrays in shares]
    return [
        [global_batch(batch_sharding(pod.mesh), share) for pod, share in zip(local, rows[m::micro_batches])]
        for m in range(micro_batches)
    ]


def _forward(local, params, batch):
    """Enqueues a micro-batch on all pods.

    Returns:
      What the loss returned, by pod; how to pull a gradient back, by part and pod.
    """
    carries, pulls = [None] * len(local), []
    for programs in zip(*(pod.forward for pod in local)):
        outputs = [program(*inputs) for program, *inputs in zip(programs, params, carries, batch)]
        carries, pull = zip(*outputs)
        pulls.append(pull)
    return carries, pulls


def _backward(local: Sequence[_Pod], pulls: list, sums: list) -> Iterator[int]:
    """Enqueues the parts' backward passes on all pods, the last part first, and says after which part it is.
    Gradients are added to each pod's `sums`, and residuals let go.
    """
    descents = [None] * len(local)
    while pulls:
        pull, part = pulls.pop(), len(pulls)
        for n, pod in enumerate(local):
            earlier = {piece: sums[n].pop(piece) for piece in pod.learns[part] & sums[n].keys()}
            totals, descents[n] = pod.backward[part](pull[n], descents[n], earlier)
            sums[n] |= totals
        del pull
        yield part


def _laid_out(shardings: Any, trees: Sequence[Any]) -> Any:
    """The trees' shards that lie there, as arrays with these shardings."""
    return jax.tree.map(lambda sharding, *xs: of_shards(sharding, xs[0].shape, xs), shardings, *trees)
