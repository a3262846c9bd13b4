"""Slices of TPUs: names, meshes, the order of devices, and errors that say the way out."""

from types import SimpleNamespace

import pytest

from errors import InputError
from parallelism.mesh import MeshShape
from planning import topologies
from planning.topologies import CHIPS, ahead_of_time_mesh, has_libtpu, mesh_shape, parse_topology, rings


def test_names():
    pod = parse_topology("v4:12x16x16")
    assert (pod.chips, pod.devices, str(pod)) == (3072, 3072, "v4:12x16x16")
    assert parse_topology("v3:32x32").devices == 2048  # two cores a chip


@pytest.mark.parametrize(
    "text", ["", "v4", "v9:2x2", "v4:4x4", "v3:4x4x4", "v4:0x4x4", "v4:axbxc", "a100:8x8"]
)
def test_an_unknown_topology_lists_the_known(text):
    with pytest.raises(InputError, match=r"no topology.*v3:AxB, v4:AxBxC"):
        parse_topology(text)


def test_what_is_not_model_is_data():
    assert mesh_shape(parse_topology("v4:12x16x16"), 2, 12) == MeshShape(2, 256, 12)
    with pytest.raises(InputError, match="3072 devices, which cannot be split 5 ways.*divisor of 3072"):
        mesh_shape(parse_topology("v4:12x16x16"), 1, 5)


def described(lengths, cores=1, pods=1):
    """Devices as libtpu lists them."""
    return [
        SimpleNamespace(coords=[x, y, 0], core_on_chip=core, slice_index=pod)
        for pod in range(pods) for y in range(lengths[1]) for x in range(lengths[0]) for core in range(cores)
    ]  # fmt: skip


def mesh_order(topology, shape, devices):
    first = topologies._first_dimension(topology, shape.model)
    ordered = topologies._in_order(devices, first)
    return [(d.slice_index, *d.coords[:2], d.core_on_chip) for d in ordered]


def test_model_runs_along_the_dimension_that_it_fills_and_pods_along_slices():
    """Eight ways over 4 x 8 chips: the second dimension, whose wires close the ring."""
    topology, shape = parse_topology("v5e:4x8"), MeshShape(2, 4, 8)
    order = mesh_order(topology, shape, described((4, 8), pods=2))
    for group in range(0, len(order), 8):
        ring = order[group : group + 8]
        assert len({(pod, x) for pod, x, _, _ in ring}) == 1 and [y for _, _, y, _ in ring] == list(range(8))
    assert [pod for pod, *_ in order] == [0] * 32 + [1] * 32


def test_the_cores_of_a_chip_are_next_to_each_other():
    order = mesh_order(parse_topology("v3:4x4"), MeshShape(1, 4, 8), described((4, 4), cores=2))
    assert [core for *_, core in order[:4]] == [0, 1, 0, 1] and order[0][1:3] == order[1][1:3]


def test_an_axis_has_two_links_per_dimension():
    link = CHIPS["v4"].ici_bandwidth
    pod = parse_topology("v4:12x16x16")
    assert rings(pod, MeshShape(2, 256, 12)) == {
        "model": 2 * link, "data": 4 * link, "pod": CHIPS["v4"].dcn_bandwidth,
    }  # fmt: skip
    assert rings(pod, MeshShape(1, 16, 192))["model"] == 4 * link
    cores = rings(parse_topology("v3:32x32"), MeshShape(1, 1024, 2))
    assert cores["model"] == CHIPS["v3"].hbm_bandwidth / 2  # within a chip
    assert cores["data"] == 4 * CHIPS["v3"].ici_bandwidth / 2  # two cores share a chip's links


@pytest.mark.skipif(has_libtpu(), reason="libtpu is installed")
def test_without_libtpu_it_is_said_how_to_get_it():
    with pytest.raises(InputError, match=r"libtpu is needed.*pip install 'libtpu=="):
        ahead_of_time_mesh(parse_topology("v4:2x2x1"), MeshShape(1, 4, 1))


@pytest.mark.skipif(not has_libtpu(), reason="needs libtpu: pip install '.[tpu]'")
def test_a_shape_that_does_not_exist_is_told():
    with pytest.raises(InputError, match="does not describe the topology v4:3x5x7"):
        ahead_of_time_mesh(parse_topology("v4:3x5x7"), MeshShape(1, 105, 1))


def test_the_extra_is_what_the_message_says():
    with open("pyproject.toml", encoding="utf-8") as file:
        assert f'"{topologies.LIBTPU}"' in file.read()
