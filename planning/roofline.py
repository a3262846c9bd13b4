"""How long a training step takes, by arithmetic: what a device computes, moves and sends, over what it can.

Nothing here is fitted to a published utilisation. ASSUMPTIONS says what is assumed, and `Chip.source` where
the hardware's figures are from.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from models.flops import mfu
from planning.topologies import Chip

# Of its peak, what a matrix unit reaches in products of thousands of rows and columns: round, and no more
# than a guess that errs upwards. What else keeps it waiting is counted by itself.
MATMUL_EFFICIENCY = 0.9

ASSUMPTIONS = (
    "A step is compute + memory + transfers within the pod + what the exchange between pods cannot "
    "hide. Transfers within the pod hide behind nothing: the compiled program waits for each, and the "
    "next product needs it.",
    "Compute: model FLOPs (6N + 12LHKT, PaLM appendix B) and the recomputed ones, at "
    f"{MATMUL_EFFICIENCY:.0%} of the peak.",
    "Memory: what is not part of a product, at the full bandwidth of HBM: 8 passes over [tokens, "
    "d_model] per residual operator, 2 over whatever is split over model, 4 over attention's float32 "
    "logits (8 with relative positions), all of it once in the forward pass, once more where it is "
    "recomputed and twice in the backward pass; and the optimiser reads and writes its state.",
    "Transfers: the bytes that the compiled program sends over rings, at the full bandwidth of the "
    "links that the axis runs along: two per dimension of the torus. Latency is not counted.",
    "The exchange between pods begins when the first layer's gradient of the backward pass is ready and "
    "runs beside the rest of the pass; what is left at its end, and the embedding's share, is waited "
    "for.",
    "No pipeline: a published system that had one, as Gopher between its pods, waited for its bubble "
    "besides.",
)


@dataclass(frozen=True)
class Work:
    """What one device does in a step.

    model_flops, recomputed_flops: in products. memory: bytes of HBM beside them. sent: bytes by mesh axis,
    within the pod. exchanged: bytes to other pods, and exchanged_last those that are ready only when the
    backward pass ends.
    """

    model_flops: float
    recomputed_flops: float
    memory: float
    sent: Mapping[str, float]
    exchanged: float = 0.0
    exchanged_last: float = 0.0


@dataclass(frozen=True)
class Prediction:
    """Seconds of a step. exchange: of the transfers between pods, exposed: the part that is waited for."""

    compute: float
    memory: float
    transfers: Mapping[str, float]
    exchange: float
    exposed: float
    mfu: float
    hfu: float

    @property
    def step(self) -> float:
        return self.compute + self.memory + sum(self.transfers.values()) + self.exposed

    @property
    def exchange_hidden(self) -> float:
        """The share of the exchange that hides behind the backward pass; 1 where there is none."""
        return 1 - self.exposed / self.exchange if self.exchange else 1.0


def predict(
    work: Work, chip: Chip, bandwidth: Mapping[str, float], efficiency: float = MATMUL_EFFICIENCY
) -> Prediction:
    """The time of a step of `work` on every device.

    Args:
      bandwidth: bytes/s of a device by mesh axis, as planning.topologies.rings says.
      efficiency: of products, over the peak.
    """
    peak = chip.peak_flops / chip.devices
    flops = work.model_flops + work.recomputed_flops
    compute = product_seconds(flops, peak, efficiency)
    memory = work.memory / (chip.hbm_bandwidth / chip.devices)
    transfers = {axis: sent / bandwidth[axis] for axis, sent in work.sent.items()}
    exchange = work.exchanged / bandwidth["pod"]
    last = work.exchanged_last / bandwidth["pod"]
    exposed = last + unhidden(
        exchange - last, (compute + memory + sum(transfers.values())) * backward_share(work)
    )
    step = compute + memory + sum(transfers.values()) + exposed
    utilisations = mfu(1 / step, work.model_flops, peak), mfu(1 / step, flops, peak)
    return Prediction(compute, memory, transfers, exchange, exposed, *utilisations)


def product_seconds(flops: float, peak: float, efficiency: float = MATMUL_EFFICIENCY) -> float:
    """Time of matrix products on a device of this peak, in FLOP/s."""
    return flops / (peak * efficiency)


def backward_share(work: Work) -> float:
    """Of a step, how much the backward pass takes with what it recomputes: two of three parts, and the
    recomputed.
    """
    forward = work.model_flops / 3
    return 1 - forward / (work.model_flops + work.recomputed_flops)


def unhidden(transfer: float, behind: float) -> float:
    """Seconds of a transfer that outlast what it runs beside."""
    return max(0.0, transfer - behind)
