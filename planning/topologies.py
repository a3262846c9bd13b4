"""Chips as they are sold, and slices of TPUs described without having one.

A topology is written as in Google's documents, generation:shape in chips, such as v4:12x16x16; libtpu, the
compiler's TPU half, makes devices of it on any machine.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np
from jax.experimental.topologies import get_topology_desc
from jax.sharding import AxisType, Mesh

from errors import InputError
from parallelism.mesh import AXES, MeshShape

LIBTPU = "libtpu==0.0.42.1"  # the release of jax 0.10.2's time; in pyproject.toml's extra `tpu` too


@dataclass(frozen=True)
class Chip:
    """One accelerator, per chip unless it says otherwise. Peaks are dense bfloat16, in FLOP/s; bandwidths are
    bytes/s.

    devices: what a program sees of a chip: two where its cores are programmed apart.
    hbm_gib: of a device, as the compiler counts it: what is left beside its own.
    ici_links, ici_bandwidth: to neighbours in the pod, and what one link carries in one direction.
    dcn_bandwidth: out of the pod, into the data centre's network, in one direction.
    dimensions: of the torus that a pod is.
    source: where the figures are from.
    """

    name: str
    devices: int
    peak_flops: float
    hbm_gib: float
    hbm_bandwidth: float
    ici_links: int
    ici_bandwidth: float
    dcn_bandwidth: float
    dimensions: int
    source: str

    @property
    def network_bandwidth(self) -> float:
        """Out of a chip over all of its links, bytes/s in one direction."""
        return self.ici_links * self.ici_bandwidth


# Compute and memory as in the documents named. The bandwidth of a link is their all-reduce bandwidth of a
# whole pod by chips and links, of v5p half the bidirectional figure. HBM is what the compiler says it has
# when it is asked for more. Out of the pod: v4 sent 81 Tbit/s from 2 x 768 hosts of four chips (PaLM section
# 4), v5 and v6 as in the documents, v3 an assumed 100 Gbit/s per host of four chips.
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v3", 2, 123e12, 15.48, 900e9, 4, 83e9, 3.1e9, 2, "cloud.google.com/tpu/docs/v3"),
        Chip("v4", 1, 275e12, 30.75, 1200e9, 6, 45e9, 1.65e9, 3, "cloud.google.com/tpu/docs/v4"),
        Chip("v5e", 1, 197e12, 15.75, 819e9, 4, 50e9, 3.1e9, 2, "cloud.google.com/tpu/docs/v5e"),
        Chip("v5p", 1, 459e12, 95.74, 2765e9, 6, 100e9, 6.2e9, 3, "cloud.google.com/tpu/docs/v5p"),
        Chip("v6e", 1, 918e12, 31.25, 1600e9, 4, 100e9, 12.5e9, 2, "cloud.google.com/tpu/docs/v6e"),
        # The peers of PaLM table 3, for arithmetic alone. Their links are NVLink, to the seven others of a
        # host; between hosts is InfiniBand, a port of 200 and (of GPT-3's unpublished cluster, assumed) 100
        # Gbit/s each.
        Chip("a100", 1, 312e12, 74.5, 2039e9, 12, 25e9, 25e9, 0, "NVIDIA A100 80 GB data sheet"),
        Chip("v100", 1, 125e12, 29.8, 900e9, 6, 25e9, 12.5e9, 0, "NVIDIA V100 32 GB data sheet"),
    )
}

# What libtpu must know where a chip could be programmed in several ways.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "v4": {"chip_config_name": "megacore", "chips_per_host_bounds": (2, 2, 1)}
}
# libtpu looks for the TPU host that it runs on, for minutes, unless these say otherwise; and it would let one
# process at a time have the chips, of which there are none here.
ENVIRONMENT = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v4-8",
}


@dataclass(frozen=True)
class Topology:
    """A slice of TPUs: chips along each dimension of its torus."""

    chip: Chip
    shape: tuple[int, ...]

    @property
    def chips(self) -> int:
        return math.prod(self.shape)

    @property
    def devices(self) -> int:
        return self.chips * self.chip.devices

    def __str__(self) -> str:
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"


def parse_topology(text: str) -> Topology:
    """ "v4:12x16x16" -> Topology. Raises InputError for an unknown one, with those that are known."""
    generation, _, shape = text.partition(":")
    chip = CHIPS.get(generation)
    known = [f"{c.name}:{'x'.join('ABC'[: c.dimensions])}" for c in CHIPS.values() if c.dimensions]
    fits = chip and re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape) and shape.count("x") + 1 == chip.dimensions
    if not fits:
        raise InputError(
            f"There is no topology {text!r}. Known are {', '.join(known)}, with chips along each "
            "dimension, such as v4:12x16x16 or v3:32x32."
        )
    return Topology(chip, tuple(map(int, shape.split("x"))))


def mesh_shape(topology: Topology, pods: int, model: int) -> MeshShape:
    """What is left beside `model` is data.

    Raises:
      InputError: `model` does not divide the devices of a pod.
    """
    if pods < 1 or model < 1 or topology.devices % model:
        raise InputError(
            f"{topology} has {topology.devices} devices, which cannot be split {model} ways over model in "
            f"{pods} pods. Split the model by a divisor of {topology.devices}, over at least one pod."
        )
    return MeshShape(pods, topology.devices // model, model)


def expect_no_tpu() -> None:
    """Tells libtpu, before JAX touches a device, that programs are to be compiled here and not run."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    jax.config.update("jax_platforms", "cpu")


def ahead_of_time_mesh(topology: Topology, shape: MeshShape) -> Mesh:
    """A mesh of devices that are described alone: programs can be compiled for it, and not run.

    Pods lie along slices. `model` runs along one dimension of the torus where its length allows, so that its
    ring is one of wires.

    Raises:
      InputError: no libtpu, or it knows no such slice.
    """
    expect_no_tpu()
    try:
        described = get_topology_desc(
            platform="tpu",
            topology_name=str(topology),
            num_slices=shape.pod,
            **OPTIONS.get(topology.chip.name, {}),
        )
    except Exception as error:  # the plugin raises what it likes
        raise InputError(_refusal(topology, error)) from error
    devices = _in_order(described.devices, _first_dimension(topology, shape.model))
    if len(devices) != shape.size:
        raise InputError(
            f"libtpu describes {topology} as {len(devices) // shape.pod} devices, not {topology.devices}."
        )
    grid = np.array(devices).reshape(shape.pod, shape.data, shape.model)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * 3)


def _refusal(topology: Topology, error: Exception) -> str:
    if has_libtpu():
        return (
            f"libtpu does not describe the topology {topology}: {str(error).splitlines()[0]} Give one "
            "that exists, such as v3:32x32, v4:4x4x8 or v5e:16x16."
        )
    return (
        f"To compile for {topology}, libtpu is needed, the compiler's TPU half; it needs no TPU. Install it "
        f"beside the rest: .venv/bin/python -m pip install '{LIBTPU}'"
    )


def has_libtpu() -> bool:
    """Whether the package is installed."""
    return find_spec("libtpu") is not None


def _first_dimension(topology: Topology, model: int) -> int:
    """The dimension of the torus along which `model` runs: one that it fills, else one that it divides."""
    along = max(1, model // topology.chip.devices)
    lengths = list(topology.shape)
    for fits in (lambda length: length == along, lambda length: length % along == 0):
        for dimension, length in enumerate(lengths):
            if fits(length):
                return dimension
    return 0


def _in_order(devices: Sequence[Any], first: int) -> list[Any]:
    """By pod, then the dimensions of the torus with `first` the fastest, then the cores of a chip."""

    def place(device):
        coordinates = list(device.coords)
        ahead = coordinates.pop(first)
        pod = getattr(device, "slice_index", 0) or 0
        return (pod, *reversed(coordinates), ahead, getattr(device, "core_on_chip", 0) or 0)

    return sorted(devices, key=place)


def rings(topology: Topology, shape: MeshShape) -> dict[str, float]:
    """Bytes/s that a *device* can send along each mesh axis, in all directions together.

    An axis has the links of the dimensions that it runs along, two each: `model` of as many as it fills,
    `data` of the others. The devices of a chip share them; between them alone there is its memory.
    """
    chip, along = topology.chip, shape.model / topology.chip.devices
    filled = 0
    lengths = sorted(topology.shape, key=lambda length: length != along)
    while along > 1 and filled < len(lengths):
        along /= lengths[filled]
        filled += 1
    left = max(1, len(lengths) - filled + (along < 1 and filled > 0))
    link = 2 * chip.ici_bandwidth / chip.devices
    return {
        "model": filled * link if filled else chip.hbm_bandwidth / chip.devices,
        "data": left * link,
        "pod": chip.dcn_bandwidth / chip.devices,
    }
