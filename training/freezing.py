"""Training a part of a model: some operators learn, the others stay as they are, bit for bit (RETROfit,
arXiv 2112.04426, section 4.2).
"""

from collections.abc import Callable, Collection
from typing import Any

import jax

from parallelism.spmd import Optimiser


def freeze(operators: Collection[str], loss: Callable, optimiser: Optimiser) -> tuple[Callable, Optimiser]:
    """`loss` and `optimiser` for a model whose `operators`, first keys of its parameters, are frozen.

    Frozen parameters cost a training step their forward pass and no more: they have no gradient, no moments,
    no decay, and no part in the norm by which gradients are clipped. They are kept in the optimiser's
    precision like the others.
    """

    def learning(tree):
        return {name: leaves for name, leaves in tree.items() if name not in operators}

    def loss_of_learning(params: Any, batch: Any):
        # Stopped before the forward pass rather than masked after the backward pass: nothing is computed for
        # a gradient that nobody reads.
        frozen = {name: jax.lax.stop_gradient(params[name]) for name in operators}
        return loss({**params, **frozen}, batch)

    def init(params):
        kept, _ = optimiser.init(params)
        return kept, optimiser.init(learning(params))[1]

    def update(gradients, state, params, step):
        learnt, state = optimiser.update(learning(gradients), state, learning(params), step)
        return {**params, **learnt}, state

    return loss_of_learning, Optimiser(init, update)
