"""The first losses of each family against numbers that were written down."""

import jax
import jax.numpy as jnp
import pytest

from models.families import build
from parallelism.mesh import MeshShape, make_mesh
from parallelism.strategies.spmd import spmd
from tests.models.small import FAMILIES, neighbours_for, small, tokens
from training.objective import objective
from training.precision import optimiser_under
from training.recipes import recipe

# Loss on one batch at the first step and after one step at the full rate, nats per token (PaLM's with z-loss).
GOLDEN = {
    "palm": (7.562034, 7.431818),
    "gopher": (7.534493, 7.203790),
    "retro": (7.590155, 7.203794),
}


def two_losses(family):
    # A run of one step spends it at the peak: with any more, the first one would be warm-up and move nothing.
    model = build(small(family))
    mesh = make_mesh(MeshShape(), jax.devices()[:1])
    strategy = spmd(
        objective(model, family, "float32"),
        optimiser_under("float32", recipe(family, 1)),
        mesh,
    )
    ids = tokens(length=129)
    batch = {
        "tokens": ids[:, :-1], "targets": ids[:, 1:], "weights": jnp.ones((2, 128)),
        "neighbours": neighbours_for(family, length=128),
    }  # fmt: skip
    state, first = strategy.step(strategy.init(jax.random.key(0)), batch)
    return float(first["loss"]), float(strategy.step(state, batch)[1]["loss"])


@pytest.mark.parametrize("family", FAMILIES)
def test_golden_losses(family):
    before, after = two_losses(family)
    golden_before, golden_after = GOLDEN[family]
    assert before == pytest.approx(golden_before, abs=2e-4), (
        f"The first loss of {family} is {before:.6f} and was {golden_before:.6f}: its initialisation or its forward "
        "pass has changed. If that was meant, write the new numbers down and say in the commit what changed "
        "and that committed results were made before it; if it was not, the last change is no refactor."
    )
    assert after == pytest.approx(golden_after, abs=2e-4), (
        f"The first loss of {family} is as it was, but after one step it is {after:.6f} and was "
        f"{golden_after:.6f}: its gradient or its optimiser has changed. See above."
    )


if __name__ == "__main__":
    for family in FAMILIES:
        print(family, "%.6f %.6f" % two_losses(family))
