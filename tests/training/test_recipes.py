"""PaLM's optimiser equals optax's own on single leaves, and stacking layers in one leaf changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from errors import InputError
from models.families import configuration, count, parameter_shapes
from training.published import PUBLISHED, published
from training.recipes import RECIPES, STACKED, learning_rate, recipe

LAYERS = 3


def _layer(rng, scale):
    """One layer: a matrix of the given scale, and a norm scale."""
    return {
        "linear": {"w": jnp.asarray(scale * rng.standard_normal((4, 5)), jnp.float32)},
        "norm": {"scale": jnp.asarray(scale * rng.standard_normal(4), jnp.float32)},
    }


def _stack(layers):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)


def _trees(rng, scales):
    """The same parameters twice: layers stacked under the operators' names, and every layer a leaf of its
    own.

    The layers differ in scale, so that a statistic over the whole leaf is wrong for each of them.
    """
    operators = ("attention", "feed_forward", "encoder")
    layers = {name: [_layer(rng, scale) for scale in scales] for name in operators}
    unstacked = {f"{name} {i}": layer for name in operators for i, layer in enumerate(layers[name])}
    unstacked |= {"embedding": _layer(rng, 2.0)}
    return _restack(unstacked), unstacked


def _restack(unstacked):
    def layers(name):
        return _stack([unstacked[f"{name} {i}"] for i in range(LAYERS)])

    return {
        "embedding": unstacked["embedding"],
        "attention": layers("attention"),
        "feed_forward": layers("feed_forward"),
        "encoder": {"attention": layers("encoder")},
    }


def _run(optimiser, params, gradients):
    state = optimiser.init(params)
    for gradient in gradients:
        updates, state = jax.jit(optimiser.update)(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def _gradients(rng, steps=5):
    """Gradients in both forms, large enough for every clip to act on some layer and spare another."""
    return list(zip(*[_trees(rng, (1e-4, 1.0, 30.0)) for _ in range(steps)], strict=True))


@pytest.mark.parametrize("family", RECIPES)
def test_stacked_layers_are_optimised_as_separate_ones(family):
    rng = np.random.default_rng(0)
    stacked, unstacked = _trees(rng, (1e-4, 0.1, 3.0))
    stacked_gradients, unstacked_gradients = _gradients(rng)
    optimiser = recipe(family, steps=20)
    got, _ = _run(optimiser, stacked, stacked_gradients)
    expected, _ = _run(optimiser, unstacked, unstacked_gradients)
    for a, b, start in zip(*map(jax.tree.leaves, (got, _restack(expected), stacked)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-6)
        assert not np.allclose(a, start, rtol=1e-5, atol=0), "nothing moved, so equality says nothing"


def test_palm_equals_optax_adafactor_without_factoring():
    rng = np.random.default_rng(1)
    _, params = _trees(rng, (1e-4, 0.1, 3.0))
    _, gradients = _gradients(rng)
    schedule = learning_rate("palm", 20)
    adafactor = optax.adafactor(
        schedule, momentum=0.9, weight_decay_rate=lambda count: schedule(count) ** 2, factored=False
    )
    reference = optax.chain(optax.clip_by_global_norm(1.0), adafactor)
    got, _ = _run(recipe("palm", 20), params, gradients)
    expected, _ = _run(reference, params, gradients)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-6), got, expected)


def test_palm_first_step_by_hand():
    """β₂ is 0 at k = 1, so the first update is 0.1 · 1e-2 · RMS(w) · sign(g), plus a decay of lr² · w."""
    w = jnp.asarray([[0.3, -0.4], [0.5, 0.0]])
    g = jnp.asarray([[1e-3, -2e-3], [3e-3, -4e-3]])
    params, _ = _run(recipe("palm", 100, peak=1e-2), {"embedding": w}, [{"embedding": g}])
    rms = np.sqrt((0.09 + 0.16 + 0.25) / 4)
    expected = w - 0.1 * 1e-2 * rms * np.sign(g) - 1e-2**2 * w
    np.testing.assert_allclose(params["embedding"], expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("family", RECIPES)
def test_state_mirrors_the_parameters_and_is_otherwise_scalar(family):
    """Sharding rules match the end of a path: a moment's must end in its parameter's, of the same shape."""
    params, _ = _trees(np.random.default_rng(2), (1.0,) * LAYERS)

    def named(tree):
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}

    shapes, state = named(params), named(recipe(family, 10).init(params))
    mirrored = {path: shape for path, shape in state.items() if shape}
    assert len(mirrored) == 2 * len(shapes)
    for path, shape in mirrored.items():
        ends = [end for end in shapes if path.endswith(end)]
        assert ends and shapes[max(ends, key=len)] == shape, path


@pytest.mark.parametrize(
    ("family", "start", "peak", "end"),
    [("gopher", 1e-7, 6e-4, 6e-5), ("retro", 1e-7, 2e-4, 2e-5), ("palm", 1e-2, 1e-2, 1e-2 / np.sqrt(25.5))],
)
@pytest.mark.parametrize("steps", [10, 600, 20_000, 255_000])
def test_every_run_goes_through_the_whole_schedule(family, start, peak, end, steps):
    rates = np.asarray(learning_rate(family, steps, peak)(jnp.arange(steps)))
    np.testing.assert_allclose(rates[0], start, rtol=1e-5)
    np.testing.assert_allclose(rates.max(), peak, rtol=1e-5)
    # The last update is made one step before the end of the cosine.
    np.testing.assert_allclose(learning_rate(family, steps, peak)(steps), end, rtol=1e-2)
    after_peak = rates[np.argmax(rates) :]
    assert np.all(np.diff(after_peak) <= 0)


@pytest.mark.parametrize(("family", "warm_up"), [("gopher", 1500), ("retro", 750)])
def test_warm_up_is_as_published_but_at_most_a_tenth_of_the_run(family, warm_up):
    assert learning_rate(family, 100_000)(warm_up) == pytest.approx(RECIPES[family].peak)
    assert learning_rate(family, 100_000)(warm_up // 2) == pytest.approx(RECIPES[family].peak / 2, rel=1e-3)
    assert learning_rate(family, 600)(60) == pytest.approx(RECIPES[family].peak)
    assert learning_rate(family, 600)(59) < RECIPES[family].peak


@pytest.mark.parametrize("k", [1, 9_999, 10_000, 40_000, 255_000])
def test_palm_at_its_published_length_is_the_papers_formula(k):
    schedule = learning_rate("palm", 255_000, PUBLISHED["palm"]["540b"].peak)
    assert schedule(k - 1) == pytest.approx(1 / np.sqrt(max(k, 10_000)), rel=1e-5)


def test_only_retro_decays_its_weights_like_adamw():
    params = {"embedding": jnp.ones((2, 2))}
    nothing = [{"embedding": jnp.zeros((2, 2))}]
    for family, shrunk in (("gopher", 0.0), ("retro", 0.1)):
        got, _ = _run(recipe(family, 1, peak=0.5), params, nothing)
        np.testing.assert_allclose(got["embedding"], 1 - 0.5 * shrunk)


@pytest.mark.parametrize("name", ["palm/smoke", "gopher/smoke", "retro/smoke"])
def test_the_stacked_operators_are_those_of_the_models(name):
    """An operator missing from STACKED would share one RMS over all its layers, in silence."""
    shapes = parameter_shapes(configuration(name))
    operators = shapes | shapes.get("encoder", {})
    assert operators.keys() - STACKED == {"embedding", "final_norm"} | shapes.keys() & {"encoder"}


def test_bad_input():
    with pytest.raises(InputError, match="palm, gopher, retro"):
        recipe("chinchilla", 100)
    with pytest.raises(InputError, match="steps is 0"):
        recipe("palm", 0)


@pytest.mark.parametrize(("family", "start"), [("gopher", 1e-7), ("retro", 1e-7), ("palm", 0.5)])
def test_a_rate_that_is_stable_and_then_decays(family, start):
    rates = np.asarray(learning_rate(family, 100, 0.5, decay=0.2)(jnp.arange(101)))
    np.testing.assert_allclose(rates[0], start, atol=2e-8)  # of float32 below 0.5
    np.testing.assert_allclose(rates[10:81], 0.5, rtol=1e-6)
    np.testing.assert_allclose(rates[90], 0.275, rtol=1e-5)
    np.testing.assert_allclose(rates[100], 0.05, rtol=1e-5)


def test_a_clip_bounds_the_gradients_norm():
    """AdamW's second step after a huge gradient tells how much of it was let through."""
    params, gradients = {"embedding": jnp.ones(4)}, {"embedding": jnp.full(4, 100.0)}
    for clip in (1.0, 0.25):
        _, state = _run(recipe("gopher", 10, clip=clip), params, [gradients])
        moment = [leaf for leaf in jax.tree.leaves(state) if leaf.shape == (4,)][0]
        np.testing.assert_allclose(jnp.linalg.norm(moment), 0.1 * clip, rtol=1e-5)


@pytest.mark.parametrize("given", [{"peak": 0.0}, {"peak": float("nan")}, {"clip": -1.0}, {"decay": 1.5}])
def test_a_number_that_is_none_is_named(given):
    with pytest.raises(InputError, match=next(iter(given))):
        recipe("gopher", 10, **given)


def test_published_sizes_are_trained_as_published_and_those_between_on_a_line_through_them():
    for family, sizes in PUBLISHED.items():
        for size, one in sizes.items():
            assert published(family, size, 1) == one
            assert count(parameter_shapes(configuration(f"{family}/{size}"))) > 0.9 * one.parameters
    assert published("retro", "172m-copying", 1) == PUBLISHED["retro"]["172m"]
    assert PUBLISHED["gopher"]["280b"].clip == PUBLISHED["gopher"]["7.1b"].clip == 0.25
    between = published("gopher", "125m", 124_000_000)
    assert 2e-4 < between.peak < 6e-4 and between.clip == 1.0 and between.batch_tokens == 2**18
    assert (
        published("gopher", "5m", 5_000_000).peak > published("gopher", "40m", 40_000_000).peak > between.peak
    )
    assert published("palm", "40m", 40_000_000).peak == pytest.approx(1e-2)
