"""Training a part of a model: some operators learn, the others stay as they are, bit for bit (RETROfit,
arXiv 2112.04426, section 4.2).
"""

from collections.abc import Collection
from typing import Any

import jax

from parallelism.interface import Objective, Optimiser


def freeze(
    operators: Collection[str], objective: Objective, optimiser: Optimiser
) -> tuple[Objective, Optimiser]:
    """`objective` and `optimiser` for a model whose `operators`, first keys of its parameters, are frozen.

    Frozen parameters cost a training step their forward pass and no more: they have no gradient, no moments,
    no decay, and no part in the norm by which gradients are clipped. They are kept in the optimiser's
    precision like the others.
    """

    def learning(tree):
        return {name: leaves for name, leaves in tree.items() if name not in operators}

    def stopped(params):
        # Stopped before the forward pass rather than masked after the backward pass: nothing is computed for
        # a gradient that nobody reads.
        return {**params, **{name: jax.lax.stop_gradient(params[name]) for name in operators}}

    def loss(params: Any, batch: Any) -> Any:
        return objective.loss(stopped(params), batch)

    def parts(count):
        return [
            part._replace(take=lambda p, take=part.take: take(stopped(p))) for part in objective.parts(count)
        ]

    def init(params):
        kept, _ = optimiser.init(params)
        return kept, optimiser.init(learning(params))[1]

    def update(gradients, state, params, step):
        learnt, state = optimiser.update(learning(gradients), state, learning(params), step)
        return {**params, **learnt}, state

    return objective._replace(loss=loss, parts=parts), Optimiser(init, update)
