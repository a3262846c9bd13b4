"""Bytes are those of every round of every loop."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from experiments.collective_bytes import collective_bytes
from parallelism.mesh import MeshShape, make_mesh

ROUNDS, SIZE = 5, 24


def test_loops_count_as_often_as_they_run():
    mesh = make_mesh(MeshShape(1, 4, 1), jax.devices()[:4])

    @jax.jit
    @partial(jax.shard_map, mesh=mesh, in_specs=PartitionSpec("data"), out_specs=PartitionSpec("data"))
    def program(x):
        def round(x, _):
            return x + jnp.sin(jax.lax.all_gather(x, "data")).sum(0), None

        x, _ = jax.lax.scan(round, x, length=ROUNDS)
        return x + jax.lax.pcast(jax.lax.psum(x, "data"), "data", to="varying")

    text = program.lower(jnp.zeros((4 * SIZE,), jnp.float32)).compile().as_text()
    assert collective_bytes(text) == {"all-gather": ROUNDS * 3 * SIZE * 4, "all-reduce": 2 * 3 / 4 * SIZE * 4}


def test_a_loop_without_a_number_of_rounds_is_told():
    text = """%body (x: bf16[8]) -> bf16[8] {
  %all-reduce = bf16[8]{0} all-reduce(%x), replica_groups={{0,1}}
}
ENTRY %main (x: bf16[8]) -> bf16[8] {
  %loop = bf16[8]{0} while(%x), condition=%condition, body=%body
}
"""
    with pytest.raises(ValueError, match="body holds collectives"):
        collective_bytes(text)
    known = text.replace("body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"3"}}')
    assert collective_bytes(known) == {"all-reduce": 3 * 16}


@pytest.mark.parametrize(
    "groups",
    ["{{0,1,2,3},{4,5,6,7}}", "[2,4]<=[8]", "mesh['a'=2,'b'=2,'c'=2], device_ids=([8]) {'a','c'}"],
)
def test_groups_in_every_spelling(groups):
    text = f"ENTRY %main (x: f32[8]) -> f32[2] {{\n  %y = f32[2]{{0}} reduce-scatter(%x), replica_groups={groups}\n}}"
    assert collective_bytes(text) == {"reduce-scatter": 3 * 8}
