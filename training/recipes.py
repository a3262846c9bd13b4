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

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from errors import InputError

STACKED = frozenset({"attention", "feed_forward", "parallel_block", "cca", "cross_attention"})


@dataclass(frozen=True)
class Adafactor:
    """PaLM's optimiser (2204.02311, section 5).

    `peak` is ours, for models of a few million parameters over a few hundred steps; `published_peak` is the
    paper's, for every size. `block_rms_clip` is T5X's default; the paper does not say whether PaLM kept it.
    """

    peak: float = 6e-2
    published_peak: float = 1e-2
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

    `peak` is ours, for models of a few million parameters over a few hundred steps; `published_peaks` holds
    the papers' by size. The papers do not give betas, epsilon, or RETRO's clip: these are the values of the
    sister papers. Weight decay acts on every parameter, as in optax, since RETRO names no exception.
    """

    warm_up: int
    weight_decay: float
    published_peaks: Mapping[str, float] = field(hash=False)
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
            warmup_steps=min(self.warm_up, steps // 10),
            decay_steps=steps,
            end_value=peak * self.final_fraction,
        )

    def optimiser(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.chain(
            optax.clip_by_global_norm(self.global_norm_clip),
            optax.adamw(schedule, self.beta1, self.beta2, self.epsilon, weight_decay=self.weight_decay),
        )


RECIPES: Mapping[str, Adafactor | Adam] = {
    "palm": Adafactor(),
    # Gopher Table 1. Its 7.1B and 280B models clip at 0.25.
    "gopher": Adam(
        warm_up=1500,
        weight_decay=0.0,
        published_peaks={
            "44m": 6e-4, "117m": 6e-4, "417m": 2e-4, "1.4b": 2e-4, "7.1b": 1.2e-4, "280b": 4e-5,
        },
    ),
    "retro": Adam(
        warm_up=750,
        weight_decay=0.1,
        published_peaks={"172m": 2e-4, "425m": 2e-4, "1.5b": 2e-4, "7.5b": 1e-4},
    ),
}  # fmt: skip


def recipe(name: str, steps: int, peak: float | None = None) -> optax.GradientTransformation:
    """The optimiser of the recipe `name` (a family's: models.families) for a run of `steps` updates.

    `peak` is the largest learning rate; None takes the recipe's value for small models.

    Raises:
        InputError: no such recipe, or `steps` below 1.
    """
    return _lookup(name, steps).optimiser(learning_rate(name, steps, peak))


def learning_rate(name: str, steps: int, peak: float | None = None) -> optax.Schedule:
    """The schedule inside `recipe`, from the number of updates already made to the learning rate."""
    return _lookup(name, steps).schedule(steps, peak)


def _lookup(name: str, steps: int) -> Adafactor | Adam:
    if name not in RECIPES:
        raise InputError(f"There is no recipe {name!r}; choose one of {', '.join(RECIPES)}.")
    if steps < 1:
        raise InputError(f"A run needs at least one step to train for; steps is {steps}.")
    return RECIPES[name]


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
