"""The mesh and the table of rules: shapes, and errors that say the way out."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from errors import InputError
from models.families import FAMILIES, configuration, parameter_shapes
from parallelism.mesh import MeshShape, make_mesh, parse_mesh_shape
from parallelism.rules import place_activation, state_shardings
from tests.models.small import FORMS


def test_parse():
    assert parse_mesh_shape("2x4x1") == MeshShape(pod=2, data=4, model=1)
    assert parse_mesh_shape("auto") == MeshShape(data=jax.device_count())


@pytest.mark.parametrize("text", ["", "8", "2x4", "0x1x1", "2x-1x1", "2x4x1x1", "axbxc"])
def test_a_mesh_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="PODxDATAxMODEL"):
        parse_mesh_shape(text)


def test_a_mesh_that_does_not_take_every_device_is_refused():
    with pytest.raises(InputError, match=r"takes 3 devices, but there are 8.*JAX_NUM_CPU_DEVICES=3"):
        make_mesh(MeshShape(data=3))


@pytest.mark.parametrize("name", [f"{f.name}/{size}" for f in FAMILIES.values() for size in f.sizes])
def test_every_parameter_has_a_rule(name):
    mesh = make_mesh(MeshShape(), jax.devices()[:1])
    state_shardings(parameter_shapes(configuration(name)), mesh)


@pytest.mark.parametrize("form", FORMS)
def test_every_parameter_of_every_switch_has_a_rule(form):
    mesh = make_mesh(MeshShape(pod=2, data=2, model=2))
    state_shardings(parameter_shapes(FORMS[form]), mesh)


def test_parameters_are_sharded_over_data_and_model_and_copied_over_pods():
    mesh = make_mesh(MeshShape(pod=2, data=2, model=2))
    shardings = state_shardings(parameter_shapes(configuration("palm/tiny")), mesh)
    block = shardings["parallel_block"]
    assert block["swiglu/up"]["w"].spec == PartitionSpec(None, "data", "model")
    assert block["multi_query_attention/key"]["w"].spec == PartitionSpec(None, "data", None)
    assert shardings["embedding"]["embedding"]["table"].spec == PartitionSpec("model", "data")


def test_a_parameter_without_a_rule_is_an_error():
    with pytest.raises(ValueError, match="No rule.*mystery/w"):
        state_shardings({"mystery": {"w": jnp.zeros((2, 2))}}, make_mesh(MeshShape(data=8)))


def test_heads_that_the_mesh_does_not_divide_are_named():
    mesh = make_mesh(MeshShape(model=8))
    with pytest.raises(InputError, match="multi_head_attention/u has 2 of it.*8 does not divide"):
        state_shardings(parameter_shapes(configuration("gopher/tiny")), mesh)
    with pytest.raises(InputError, match="'heads' 8 ways.*the model has 4"):
        place_activation(mesh).share(4, "heads")


def test_a_single_device_needs_no_place():
    assert place_activation(make_mesh(MeshShape(), jax.devices()[:1])) is None
