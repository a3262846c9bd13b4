"""The device mesh pod × data × model (PaLM section 4: two pods, each 12-way model and 256-way data
parallel).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding

from errors import InputError

AXES = ("pod", "data", "model")


@dataclass(frozen=True)
class MeshShape:
    """Devices along each axis. The batch is split over pod × data, the model's matrices over data and
    model.
    """

    pod: int = 1
    data: int = 1
    model: int = 1

    @property
    def size(self) -> int:
        return self.pod * self.data * self.model

    def __str__(self) -> str:
        return f"{self.pod}x{self.data}x{self.model}"


def parse_mesh_shape(text: str) -> MeshShape:
    """ "1x4x2" -> MeshShape(pod=1, data=4, model=2); "auto" -> every device along data."""
    if text == "auto":
        return MeshShape(data=jax.device_count())
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise InputError(f"The mesh {text!r} is not of the form PODxDATAxMODEL, such as 1x4x2, nor 'auto'.")
    return MeshShape(*map(int, match.groups()))


def make_mesh(shape: MeshShape, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh with the axes of `AXES` over `devices` (default: all).

    Raises InputError where the shape does not take every device: a device left out would idle unseen.
    """
    devices = jax.devices() if devices is None else devices
    if shape.size != len(devices):
        raise InputError(
            f"The mesh {shape} (pod x data x model) takes {shape.size} devices, but there are "
            f"{len(devices)}. Give a mesh whose product is {len(devices)}, or, on a CPU, set "
            f"JAX_NUM_CPU_DEVICES={shape.size}."
        )
    # Auto axes: under jax.make_mesh's Explicit default, sharded embedding look-ups and row-parallel products
    # raise.
    return jax.make_mesh(
        (shape.pod, shape.data, shape.model), AXES, axis_types=(AxisType.Auto,) * 3, devices=devices
    )


def of_shards(sharding: NamedSharding, shape: Sequence[int], arrays: Sequence[jax.Array]) -> jax.Array:
    """What of `arrays` lies on the devices of `sharding`, as one array of `shape`: the same memory."""
    shards = [s.data for array in arrays for s in array.addressable_shards if s.device in sharding.device_set]
    return jax.make_array_from_single_device_arrays(tuple(shape), sharding, shards)


def batch_ways(mesh: Mesh) -> int:
    """How many ways the mesh splits a batch: pod × data."""
    return mesh.shape["pod"] * mesh.shape["data"]


def global_batch_size(mesh: Mesh, batch: Any) -> int:
    """Sequences in the global batch of which `batch` is this process's share."""
    processes = batch_ways(mesh) // batch_ways(mesh.local_mesh)
    return jax.tree.leaves(batch)[0].shape[0] * processes


def require_divisible(mesh: Mesh, batch_size: int, micro_batches: int = 1) -> None:
    """Raises InputError where pod × data × micro_batches does not divide a global batch of `batch_size`
    sequences.
    """
    ways = batch_ways(mesh) * micro_batches
    if batch_size % ways:
        cut = f" and {micro_batches} ways (micro-batches)" if micro_batches > 1 else ""
        raise InputError(
            f"The mesh splits a batch {batch_ways(mesh)} ways (pod x data){cut}, which does not divide its "
            f"{batch_size} sequences. Give a batch size that is a multiple of {ways}, or a mesh with fewer "
            "devices along pod and data."
        )
