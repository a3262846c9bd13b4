"""In which precision a model computes and is kept: policies by name, outside the modules, which know nothing
of them (Gopher, appendix C).

    policy                         parameters   activations   beside Adam's or Adafactor's moments
    float32                        float32      float32
    mixed                          float32      bfloat16
    bfloat16_with_float32_copy     bfloat16     bfloat16      a float32 copy of the parameters
    bfloat16_stochastic_rounding   bfloat16     bfloat16
    bfloat16                       bfloat16     bfloat16

A policy casts the parameters for the forward and backward pass, and activations follow, since a module
computes in the precision of what it is given. Norms, softmaxes and the loss go through float32 inside the
modules under every policy. Moments are float32 under every policy, as in Gopher's 10 bytes per parameter
(bfloat16 parameters, two float32 moments), and every update is computed in float32; the policies differ in
where its result is kept. Where that is bfloat16 alone, rounding to the nearest loses every update smaller
than half a spacing; rounding stochastically keeps it in expectation.

The gradient is taken with respect to what the model computes with: in bfloat16 where that is bfloat16, in
`mixed` too, whose cast is part of what is differentiated and hands the same numbers on as float32. So `mixed`
and the copy do the same arithmetic on the same numbers, bit for bit. They differ in what a step starts from:
float32 parameters to be read, gathered and cast, or half as many bytes and a copy that only the optimiser
meets.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import jmp
import optax

from errors import InputError
from parallelism.interface import Optimiser

Tree = TypeVar("Tree")

MIXED, COPY, STOCHASTIC = "mixed", "bfloat16_with_float32_copy", "bfloat16_stochastic_rounding"
NEAREST = "bfloat16"
POLICIES: Mapping[str, str] = {
    "float32": "params=float32,compute=float32,output=float32",
    MIXED: "params=float32,compute=bfloat16,output=float32",
    COPY: "params=bfloat16,compute=bfloat16,output=float32",
    STOCHASTIC: "params=bfloat16,compute=bfloat16,output=float32",
    NEAREST: "params=bfloat16,compute=bfloat16,output=float32",
}

# Which way a number is rounded is a function of this, the run's seed, the step and the leaf: a run can be
# resumed bit for bit, rounds alike on every mesh, and no two seeds share their noise. Initial parameters are
# made of the run's seed alone.
ROUNDING_SEED = 2**31 - 1


class WithCopy(NamedTuple):
    """The state of an optimiser that keeps the parameters exactly; both mirror the parameters' paths."""

    float32_copy: Any
    moments: Any


def cast_for_compute(params: Tree, policy: str) -> Tree:
    """`params` as the model computes with them under `policy`; integer leaves stay as they are.

    Raises:
        InputError: no such policy.
    """
    return _lookup(policy).cast_to_compute(params)


def optimiser_under(policy: str, recipe: optax.GradientTransformation, seed: int = 0) -> Optimiser:
    """`recipe` with the parameters kept as `policy` says; seed: the run's, of which stochastic rounding is
    made.

    Raises:
        InputError: no such policy.
    """
    kept = _lookup(policy).cast_to_param
    if policy == COPY:
        return _with_float32_copy(recipe, kept)
    if policy == STOCHASTIC:
        return _without_copy(recipe, kept, partial(_round_tree, seed))
    return _without_copy(recipe, kept, lambda params, step: kept(params))


def _without_copy(recipe: optax.GradientTransformation, kept: Callable, store: Callable) -> Optimiser:
    """What is kept is all there is: every update starts from it.

    Args:
        kept: float32 parameters -> how they are kept at the start.
        store: (float32 parameters, step) -> how they are kept after the update of `step`.
    """

    def init(params):
        return kept(params), recipe.init(params)

    def update(gradients, moments, params, step):
        exact = _float32(params)
        updates, moments = recipe.update(gradients, moments, exact)
        return store(optax.apply_updates(exact, updates), step), moments

    return Optimiser(init, update)


def _with_float32_copy(recipe: optax.GradientTransformation, kept: Callable) -> Optimiser:
    """The optimiser works on the copy; what is kept beside it is the copy rounded to the nearest, no more."""

    def init(params):
        return kept(params), WithCopy(params, recipe.init(params))

    def update(gradients, state, params, step):
        del params, step
        updates, moments = recipe.update(gradients, state.moments, state.float32_copy)
        copy = optax.apply_updates(state.float32_copy, updates)
        return kept(copy), WithCopy(copy, moments)

    return Optimiser(init, update)


def round_stochastically(key: jax.Array, x: jax.Array) -> jax.Array:
    """float32 -> bfloat16, up or down with the probability that makes the expectation `x` itself.

    The 16 bits that bfloat16 lacks are a fraction of its spacing: a random fraction is added to them, and
    they are cut off. Negative numbers are rounded as their magnitudes are, numbers that bfloat16 holds are
    never changed. Infinities, NaN, and what would leave the finite numbers are rounded to the nearest.
    """
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    fraction = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    rounded = jax.lax.bitcast_convert_type(((bits + fraction) >> 16).astype(jnp.uint16), jnp.bfloat16)
    # Without the first test a NaN could carry over into a number.
    return jnp.where(jnp.isfinite(x) & jnp.isfinite(rounded), rounded, x.astype(jnp.bfloat16))


def _round_tree(seed, params, step):
    """Every leaf rounded by a key of its own."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(ROUNDING_SEED), seed), step)
    leaves, tree = jax.tree.flatten(params)
    return tree.unflatten(
        [round_stochastically(jax.random.fold_in(key, i), leaf) for i, leaf in enumerate(leaves)]
    )


def _float32(tree):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree)


def _lookup(policy: str) -> jmp.Policy:
    if policy not in POLICIES:
        raise InputError(f"There is no precision {policy!r}; choose one of {', '.join(POLICIES)}.")
    return jmp.get_policy(POLICIES[policy])
