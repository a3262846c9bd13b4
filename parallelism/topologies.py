"""Chips as they are sold, and slices of TPUs described without having one.

A topology is written as in Google's documents, generation:shape in chips, such as v4:12x16x16; libtpu, the
compiler's TPU half, makes devices of it on any machine.
"""

from dataclasses import dataclass


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
