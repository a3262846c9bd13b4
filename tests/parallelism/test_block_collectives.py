"""The golden count: what a transformer block sends, per direction, is the least that its sharding needs.

Read from the program that the compiler makes of the training loss and its gradient. A number that differs
here says that an activation is gathered, or summed whole, where it was not before: more traffic for every
layer of every model.
"""

import dataclasses
from collections import Counter
from functools import cache

import jax
import jax.numpy as jnp
import pytest

from models import dense
from models.families import build, configuration, parameter_shapes
from models.layers import axes
from parallelism.interface import gradient_sums
from parallelism.mesh import MeshShape, make_mesh
from parallelism.rules import batch_sharding, place_activation, state_shardings
from planning.collectives import collectives
from training.objective import objective

LAYERS, BATCH, LENGTH, WIDTH = 5, 8, 64, 64  # more layers than are unrolled
TENSOR, FSDP, BOTH = MeshShape(1, 1, 4), MeshShape(1, 4, 1), MeshShape(2, 2, 2)
KERNELS = 7  # of a block; PaLM: q, k, v, o, gate, up, down; Gopher: q, k, v, W_r, o, up, down

# Forward: gather x, scatter what is added, once per residual operator. Backward, all rematerialised: gather x
# again and the gradient of what was added, scatter that of x; and where a second operator follows, the first
# one's sum again.
TENSOR_PARALLEL = {
    "palm": ({"all-gather": 1, "reduce-scatter": 1}, {"all-gather": 2, "reduce-scatter": 1}),
    "gopher": ({"all-gather": 2, "reduce-scatter": 2}, {"all-gather": 4, "reduce-scatter": 3}),
}
# Weights are gathered for use, in each direction once, and their gradients scattered.
FULLY_SHARDED = ({"all-gather": KERNELS}, {"all-gather": KERNELS, "reduce-scatter": KERNELS})


@cache
def configured(family):
    return dataclasses.replace(
        configuration(f"{family}/smoke"), num_layers=LAYERS, num_heads=4, head_size=16, d_model=WIDTH,
        d_ff=4 * WIDTH, vocab_size=256, max_length=LENGTH, remat="full",
    )  # fmt: skip


def in_blocks(family, shape, direction):
    """The collectives of one block, of `direction`: those that run once per layer."""
    mesh = make_mesh(shape, jax.devices()[: shape.size])
    trained = objective(build(configured(family)), family, "float32")
    place, shapes = place_activation(mesh), parameter_shapes(configured(family))
    shardings = state_shardings(shapes, mesh)
    params = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        shardings,
    )

    def rows(kind):
        return jax.ShapeDtypeStruct((BATCH, LENGTH), kind, sharding=batch_sharding(mesh))

    batch = {
        "tokens": rows(jnp.int32),
        "targets": rows(jnp.int32),
        "weights": rows(jnp.float32),
        "neighbours": None,
    }

    def forward(params, batch):
        with axes.placed_by(place):
            return trained.loss(params, batch)

    def both(params, batch):
        gradients, value = gradient_sums(forward, params, batch)
        return jax.lax.with_sharding_constraint(gradients, shardings), value

    program = jax.jit(forward if direction == "forward" else both).lower(params, batch).compile()
    return [one for one in collectives(program.as_text(), shape) if one.count == LAYERS]


def counted(operations, axis):
    """By kind, those along one axis that carry activations or weights: sums of gradients of what has no
    shards, norms, are checked by bytes.
    """
    return Counter(one.kind for one in operations if one.axes == (axis,) and one.kind != "all-reduce")


def backward(operations, forward, axis):
    return counted(operations, axis) - counted(forward, axis)


@pytest.fixture(scope="module", params=["palm", "gopher"])
def family(request):
    return request.param


def block_bytes(family, *ends):
    """Of the parameters of one block whose paths end so, in float32."""
    shapes = parameter_shapes(configured(family))
    leaves = jax.tree_util.tree_leaves_with_path(
        {name: leaves for name, leaves in shapes.items() if name not in ("embedding", "final_norm")}
    )
    paths = [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf.size) for path, leaf in leaves]
    return sum(size * 4 // LAYERS for path, size in paths if path.endswith(ends))


def test_tensor_parallel(family):
    forward, operations = in_blocks(family, TENSOR, "forward"), in_blocks(family, TENSOR, "both")
    expected_forward, expected_backward = TENSOR_PARALLEL[family]
    assert counted(forward, "model") == expected_forward
    assert backward(operations, forward, "model") == expected_backward
    activation = BATCH * LENGTH * WIDTH * 4
    assert {one.array for one in operations if one.kind != "all-reduce"} == {activation}
    assert not [one for one in forward if one.kind == "all-reduce"]
    # What every device along model has whole: the norms' scales and PaLM's one key and value head.
    sums = sum(one.array for one in operations if one.kind == "all-reduce")
    assert sums == block_bytes(
        family, "scale", "multi_query_attention/key/w", "multi_query_attention/value/w"
    )


def test_fully_sharded(family):
    forward, operations = in_blocks(family, FSDP, "forward"), in_blocks(family, FSDP, "both")
    assert counted(forward, "data") == FULLY_SHARDED[0]
    assert backward(operations, forward, "data") == FULLY_SHARDED[1]
    weights = block_bytes(family, "/w")
    assert sum(one.array for one in forward) == weights
    assert sum(one.array for one in operations if one.kind == "reduce-scatter") == weights
    sums = sum(one.array for one in operations if one.kind == "all-reduce")
    assert sums == block_bytes(family, "scale", "/u", "/v")


def test_both_and_two_pods(family):
    forward, operations = in_blocks(family, BOTH, "forward"), in_blocks(family, BOTH, "both")
    for axis, expected in (("model", TENSOR_PARALLEL[family]), ("data", FULLY_SHARDED)):
        assert counted(forward, axis) == expected[0]
        assert backward(operations, forward, axis) == expected[1]
    # Pods exchange a device's own shards of the gradients, summed over the pod before, and nothing else.
    between = [one for one in operations if "pod" in one.axes]
    assert {one.kind for one in between} == {"all-reduce"} and not [
        one for one in forward if "pod" in one.axes
    ]
    shards = block_bytes(family, "/w") / (BOTH.data * BOTH.model)
    assert sum(one.array for one in between) == pytest.approx(shards, rel=0.05)  # a few are not split by both


def test_an_accidental_gather_is_seen(monkeypatch):
    """The count is of what the compiler made, not of what was asked for: one gather too many is one too
    many.
    """

    def whole_again(x, *terms):
        return axes.own_slice(axes.whole(axes.added(x, *terms)))

    monkeypatch.setattr(dense, "added", whole_again)
    build.cache_clear()
    try:
        operations = in_blocks("palm", TENSOR, "forward")
    finally:
        build.cache_clear()
    assert counted(operations, "model") == {"all-gather": 2, "reduce-scatter": 1}
