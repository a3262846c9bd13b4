"""Programs whose collectives are known by hand, compiled for eight virtual devices, and text of the TPU
compiler's.
"""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from parallelism.mesh import AXES, MeshShape, make_mesh
from planning.collectives import Collective, collectives, totals

MESH = MeshShape(2, 2, 2)
SIZE, ROUNDS = 64, 5


def compiled(function, spec, out=None):
    """The text of `function` of a [SIZE] float32, on every device's share of it."""
    mesh = make_mesh(MESH)
    local = jax.shard_map(
        function, mesh=mesh, in_specs=spec, out_specs=spec if out is None else out, check_vma=False
    )
    x = jax.ShapeDtypeStruct((SIZE,), jnp.float32, sharding=NamedSharding(mesh, spec))
    return jax.jit(local).lower(x).compile().as_text()


def gather(x, axis):
    return jax.lax.all_gather(x, axis, tiled=True)


KNOWN = {
    "gather over model": (lambda x: gather(x, "model"), "model", None, ("all-gather", ("model",), 2, SIZE * 4, 1)),
    "gather over data": (lambda x: gather(x, "data"), "data", None, ("all-gather", ("data",), 2, SIZE * 4, 1)),
    "sum over pods": (lambda x: jax.lax.psum(x, "pod"), None, None, ("all-reduce", ("pod",), 2, SIZE * 4, 1)),
    "sum over two axes": (
        lambda x: jax.lax.psum(x, ("data", "model")), None, None,
        ("all-reduce", ("data", "model"), 4, SIZE * 4, 1),
    ),
    "sum over all": (lambda x: jax.lax.psum(x, AXES), None, None, ("all-reduce", AXES, 8, SIZE * 4, 1)),
    "scatter": (
        lambda x: jax.lax.psum_scatter(x, "data", tiled=True), None, "data",
        ("reduce-scatter", ("data",), 2, SIZE * 4, 1),
    ),
    "pass on": (
        lambda x: jax.lax.ppermute(x, "pod", [(0, 1), (1, 0)]), "pod", None,
        ("collective-permute", ("pod",), 2, SIZE * 2, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_kind_axes_size_and_bytes(name):
    function, spec, out, expected = KNOWN[name]
    out = PartitionSpec(out) if out else PartitionSpec() if "gather" in name else PartitionSpec(spec)
    assert collectives(compiled(function, PartitionSpec(spec), out), MESH) == [Collective(*expected)]


def test_loops_multiply():
    def twice_nested(x):
        def inner(x, _):
            return jax.lax.psum(x * 1.5, "data"), None

        def outer(x, _):
            return jax.lax.psum(jax.lax.scan(inner, x, None, ROUNDS)[0], "model"), None

        return jax.lax.scan(outer, x, None, 3)[0]

    rows = collectives(compiled(twice_nested, PartitionSpec()), MESH)
    assert {(one.axes, one.count) for one in rows} == {(("data",), 3 * ROUNDS), (("model",), 3)}


def test_what_a_ring_sends():
    whole = 1200
    for kind, sent in {
        "all-gather": 900,
        "reduce-scatter": 900,
        "all-reduce": 1800,
        "all-to-all": 900,
    }.items():
        assert Collective(kind, ("data",), 4, whole, 1).sent == sent
    assert Collective("collective-permute", ("data",), 2, whole, 3).sent == 3 * whole


def test_totals_are_by_kind_and_axes_the_most_bytes_first():
    one, two = Collective("all-reduce", ("pod",), 2, 100, 1), Collective("all-gather", ("model",), 2, 1000, 4)
    assert totals([one, two, one]) == [
        {"kind": "all-gather", "network": "ICI", "axes": "model", "count": 4, "bytes": 2000.0},
        {"kind": "all-reduce", "network": "DCN", "axes": "pod", "count": 2, "bytes": 200.0},
    ]


# As libtpu writes it: a loop whose rounds only its condition tells, the first of them peeled off; a sum that
# is scattered inside a kernel; an exchange between slices through the hosts.
TPU = """HloModule jit_step, is_scheduled=true, num_partitions=4

%all-reduce-scatter.2 (input: bf16[64,8]) -> bf16[32,8] {
  %all-reduce.1 = bf16[64,8]{1,0} all-reduce(%input), replica_groups={{0,2},{1,3}}, to_apply=%add
  ROOT %slice = bf16[32,8]{1,0} dynamic-slice(%all-reduce.1, %a, %b), dynamic_slice_sizes={32,8}
}

%body (p: (s32[], bf16[32,8])) -> (s32[], bf16[32,8]) {
  %ag = (bf16[32,8]{1,0}, bf16[64,8]{1,0}) all-gather-start(%x), replica_groups={{0,1},{2,3}}
  %fusion.7 = bf16[32,8]{1,0} fusion(%ag), kind=kCustom, calls=%all-reduce-scatter.2
  %send = (bf16[32,8]{1,0}, u32[]) send(%g, %t), a={_xla_megascale_transfer_type="ALL_REDUCE"}
}

%condition (p: (s32[], bf16[32,8])) -> pred[] {
  %constant.9 = s32[]{:T(128)} constant(118)
  %gte = s32[] get-tuple-element(%p), index=0
  ROOT %lt = pred[] compare(%gte, %constant.9), direction=LT
}

ENTRY %main (a: bf16[32,8]) -> bf16[32,8] {
  %constant.1 = s32[] constant(1)
  %copy.1 = s32[] copy(%constant.1)
  %tuple.1 = (s32[], bf16[32,8]) tuple(%copy.1, %a)
  %while.1 = (s32[], bf16[32,8]) while(%tuple.1), condition=%condition, body=%body
  %norm = f32[] all-reduce(%n), replica_groups={}, to_apply=%add
}
"""


def test_a_program_for_slices_of_tpus():
    assert collectives(TPU, MESH) == [
        Collective("all-gather", ("model",), 2, 64 * 8 * 2, 117),
        Collective("reduce-scatter", ("data",), 2, 64 * 8 * 2, 117),
        Collective("all-reduce", ("pod",), 2, 32 * 8 * 2, 117),
        Collective("all-reduce", ("data", "model"), 4, 4, 1),
    ]


def test_what_cannot_be_read_is_an_error_and_not_left_out():
    with pytest.raises(ValueError, match="How often does the loop run"):
        collectives(TPU.replace("direction=LT", "direction=NE"), MESH)
    with pytest.raises(ValueError, match="Which devices take part"):
        collectives(TPU.replace("replica_groups={}", "replica_groups=(all)"), MESH)
