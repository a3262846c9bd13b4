"""How models are optimised: the published recipes by name, scaled to the length of a run.

Two optimisers cover the three papers. PaLM trains with "Adafactor without factorisation" (section 5), which
is Adam with each matrix's update measured in units of that matrix's own RMS; Gopher (section 3.1) and RETRO
(section 4) train with Adam and AdamW. Every decay is compressed so that a run of any length ends where the
published run ended: a cosine that overshoots the run by 25 % or more costs loss (Chinchilla, appendix B).

A parameter tree has operators as its top-level keys. The operators in `STACKED` hold all their layers in one
leaf with a leading depth axis, so whatever is taken "per parameter matrix" is taken per layer there.
Optimiser state mirrors the parameter tree leaf for leaf: a moment's path ends in its parameter's path, and
every other leaf is a scalar.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from errors import InputError

STACKED = frozenset({"attention", "feed_forward", "parallel_block", "cca", "cross_attention"})


@dataclass(frozen=True)
class Adafactor:
    """PaLM's optimiser (2204.02311, section 5).

    `peak` is ours, for models of a few million parameters over a few hundred steps; training.published has
    the paper's. `block_rms_clip` is T5X's default; the paper does not say whether PaLM kept it.
    """

    peak: float = 6e-2
    plateau: int = 10_000
    published_steps: int = 255_000
    beta1: float = 0.9
    beta2_exponent: float = 0.8
    epsilon: float = 1e-30
    minimum_rms: float = 1e-3
    block_rms_clip: float = 1.0
    global_norm_clip: float = 1.0

    def schedule(self, steps: int, peak: float | None = None) -> optax.Schedule:
        """peak · √(plateau / max(k, plateau)), which is the paper's 1/√max(k, 10⁴) at the published peak.

        A run shorter than the published 255k steps counts k in units of its own length, so the plateau takes
        the published share of the run (4 %) and the rate ends at the published fifth of its peak. Left as
        printed, it would never decay in fewer than 10k steps.
        """
        peak = self.peak if peak is None else peak
        speed = max(1.0, self.published_steps / steps)

        def learning_rate(count):
            k = 1 + count * speed
            return peak * jnp.sqrt(self.plateau / jnp.maximum(k, self.plateau))

        return learning_rate

    start = 0.0  # no field: there is no warm-up

    def warm_up_steps(self, steps: int) -> int:
        """Of a run of `steps`."""
        del steps
        return 0

    def optimiser(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        """In T5X's order: momentum averages the finished, scaled updates, and is not debiased."""
        return optax.chain(
            optax.clip_by_global_norm(self.global_norm_clip),
            scale_by_second_moment(self.beta2_exponent, self.epsilon),
            per_layer(optax.clip_by_block_rms(self.block_rms_clip)),
            optax.scale_by_learning_rate(schedule, flip_sign=False),
            per_layer(optax.scale_by_param_block_rms(self.minimum_rms)),
            optax.ema(self.beta1, debias=False),
            optax.add_decayed_weights(lambda count: schedule(count) ** 2),
            optax.scale(-1.0),
        )


@dataclass(frozen=True)
class Adam:
    """Gopher's Adam and, with a weight decay, RETRO's AdamW.

    `peak` is ours, for models of a few million parameters over a few hundred steps; training.published has
    the papers'. The papers do not give betas, epsilon, or RETRO's clip: these are the values of the sister
    papers. Weight decay acts on every parameter, as in optax, since RETRO names no exception.
    """

    warm_up: int
    weight_decay: float
    peak: float = 3e-3
    start: float = 1e-7
    final_fraction: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    global_norm_clip: float = 1.0

    def schedule(self, steps: int, peak: float | None = None) -> optax.Schedule:
        """Linear warm-up from 1e-7, then a cosine to a tenth of the peak that ends with the run.

        The warm-up lasts the published number of steps, but at most a tenth of the run.
        """
        peak = self.peak if peak is None else peak
        return optax.warmup_cosine_decay_schedule(
            init_value=self.start,
            peak_value=peak,
            warmup_steps=self.warm_up_steps(steps),
            decay_steps=steps,
            end_value=peak * self.final_fraction,
        )

    def warm_up_steps(self, steps: int) -> int:
        """Of a run of `steps`."""
        return min(self.warm_up, steps // 10)

    def optimiser(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.chain(
            optax.clip_by_global_norm(self.global_norm_clip),
            optax.adamw(schedule, self.beta1, self.beta2, self.epsilon, weight_decay=self.weight_decay),
        )


RECIPES: Mapping[str, Adafactor | Adam] = {
    "palm": Adafactor(),
    "gopher": Adam(warm_up=1500, weight_decay=0.0),
    "retro": Adam(warm_up=750, weight_decay=0.1),
}


def recipe(
    name: str, steps: int, peak: float | None = None, clip: float | None = None, decay: float | None = None
) -> optax.GradientTransformation:
    """The optimiser of the recipe `name` (a family's: models.families) for a run of `steps` updates.

    Args:
        peak: the largest learning rate; None takes the recipe's value for small models.
        clip: of the gradient's global norm; None takes the recipe's 1.0.
        decay: see `learning_rate`.

    Raises:
        InputError: no such recipe, `steps` below 1, or a number that is none.
    """
    of_name = _lookup(name, steps)
    if clip is not None:
        _require_positive("clip", clip)
        of_name = replace(of_name, global_norm_clip=clip)
    return of_name.optimiser(learning_rate(name, steps, peak, decay))


def learning_rate(
    name: str, steps: int, peak: float | None = None, decay: float | None = None
) -> optax.Schedule:
    """The schedule inside `recipe`, from the number of updates already made to the learning rate.

    decay: the last share of the run, over which the rate falls in a straight line to a tenth of the peak at
    which it stood since the warm-up; None for the recipe's own curve. So a run whose length is not known yet
    can go on from where it stood.
    """
    of_name = _lookup(name, steps)
    if peak is not None:
        _require_positive("peak", peak)
    if decay is None:
        return of_name.schedule(steps, peak)
    if not 0 < decay <= 1:
        raise InputError(f"decay {decay}: give a share of the run, above 0 and at most 1.")
    peak = of_name.peak if peak is None else peak
    warm_up = of_name.warm_up_steps(steps)
    falls_from = max(warm_up, steps - round(decay * steps))
    return optax.join_schedules(
        [
            optax.linear_schedule(of_name.start, peak, warm_up),
            optax.constant_schedule(peak),
            optax.linear_schedule(peak, peak / 10, max(1, steps - falls_from)),
        ],
        [warm_up, falls_from],
    )


def _lookup(name: str, steps: int) -> Adafactor | Adam:
    if name not in RECIPES:
        raise InputError(f"There is no recipe {name!r}; choose one of {', '.join(RECIPES)}.")
    if steps < 1:
        raise InputError(f"A run needs at least one step to train for; steps is {steps}.")
    return RECIPES[name]


def _require_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise InputError(f"{name} {value}: give a number above 0.")


class SecondMomentState(NamedTuple):
    count: jax.Array
    second_moment: optax.Updates


def scale_by_second_moment(exponent: float, epsilon: float) -> optax.GradientTransformation:
    """Adafactor's unfactored second moment: v ← β₂v + (1 − β₂)(g² + ε), g/√v, with β₂ = 1 − k^−exponent.

    optax's own keeps placeholder leaves for the row and column factors, which no sharding rule could match.
    """

    def init(params):
        return SecondMomentState(jnp.zeros([], jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(updates, state, params=None):
        del params
        count = optax.safe_increment(state.count)
        beta2 = 1 - jnp.asarray(count, jnp.float32) ** -exponent
        second_moment = jax.tree.map(
            lambda v, g: beta2 * v + (1 - beta2) * (jnp.square(g) + epsilon), state.second_moment, updates
        )
        updates = jax.tree.map(lambda g, v: g * jax.lax.rsqrt(v), updates, second_moment)
        return updates, SecondMomentState(count, second_moment)

    return optax.GradientTransformation(init, update)


def per_layer(stateless: optax.GradientTransformation) -> optax.GradientTransformation:
    """A stateless transformation that works leaf by leaf, made to work layer by layer on stacked leaves."""

    def update(updates, state, params=None):
        def leaf(path, u, p):
            def one(u, p):
                return stateless.update(u, state, p)[0]

            return (jax.vmap(one) if _is_stacked(path) else one)(u, p)

        return jax.tree_util.tree_map_with_path(leaf, updates, params), state

    return optax.GradientTransformation(stateless.init, update)


def _is_stacked(path: tuple[jax.tree_util.DictKey, ...]) -> bool:
    names = [entry.key for entry in path]
    operator = names[1] if names[0] == "encoder" else names[0]
    return operator in STACKED
