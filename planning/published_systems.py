"""What share of a step is bubble, and what communication, in systems that were published: by arithmetic.

MT-NLG 530B (Smith et al. 2022: tensor 8 x pipeline 35 x data 8), Gopher 280B (a pipeline across four pods)
and PaLM 540B (two pods, no pipeline). ASSUMPTIONS says how a step's time is put together. What the arithmetic
cannot know is how near to their peak chips compute while nobody waits. That efficiency is calibrated: it is
what makes the arithmetic give a system's published MFU. Every system's MFU is then predicted from the
efficiencies of the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.families import configuration, count, parameter_shapes
from models.flops import mfu, recomputed_flops_per_token, train_flops_per_token
from parallelism.strategies.schedules import bubble
from planning.topologies import CHIPS

LENGTH, BYTES = 2048, 2  # tokens of a sequence, in all three; bfloat16 and float16

ASSUMPTIONS = (
    "A step is (compute + tensor parallelism + sends between stages) / (1 - bubble) + weights and gradients "
    "over data + gradients between pods; nothing hides behind anything else. The bubble is "
    "(p - 1) / (m + p - 1).",
    "Compute: model FLOPs (6N + 12LHKT) and recomputed ones, over peak x efficiency. Recomputed: the forward "
    "pass in MT-NLG and Gopher (Gopher's paper: +33 %), attention and 75 % of the rest in PaLM (table 22).",
    "Tensor parallelism: ring all-reduces of [tokens, d_model] in 2 bytes, two for a serial block, one for "
    "PaLM's parallel one, in the forward, the recomputed and the backward pass each.",
    "Data parallelism: MT-NLG and Gopher all-reduce gradients once a step; PaLM gathers weights twice and "
    "scatters gradients once. PaLM's pods exchange 2 bytes per parameter.",
    "Bandwidths are those of planning/topologies.py in full: all links of a chip inside a pod (for A100 a "
    "host), the network outside. Latency is not counted.",
    "MT-NLG runs micro-batches of one sequence: 1920 / 8 = 240. Gopher's layout inside a pod and its number "
    "of micro-batches were not published: assumed are 16-way tensor parallelism, and two numbers.",
)


@dataclass(frozen=True)
class System:
    """A run as published. FLOPs are per token, over the whole model.

    tensor, data, stages, pods: their product is the number of chips; a pod is one that has a whole copy.
    reduces: all-reduces of tensor parallelism per layer and pass. sharded_weights: gathered over `data` for
    use (ZeRO stage 3). data_is_local: inside a pod, not over the network outside.
    """

    name: str
    chip: str
    tensor: int
    data: int
    stages: int
    pods: int
    micro_batches: int
    parameters: float
    model_flops: float
    recomputed_flops: float
    layers: int
    d_model: int
    batch_size: int
    reduces: int
    sharded_weights: bool
    data_is_local: bool
    published_step_seconds: float

    @property
    def chips(self) -> int:
        return self.tensor * self.data * self.stages * self.pods

    @property
    def tokens(self) -> int:
        return self.batch_size * LENGTH

    def mfu(self, step_seconds: float) -> float:
        """Model FLOPs of a step over what the chips could do in it."""
        peak = self.chips * CHIPS[self.chip].peak_flops
        return mfu(self.tokens / step_seconds, self.model_flops, peak)


def published_systems() -> list[System]:
    """Gopher's and PaLM's figures are counted from our configurations of them, MT-NLG's from its paper."""
    gopher, palm = configuration("gopher/280b"), configuration("palm/540b")
    megatron = 6 * 530e9 + 12 * 105 * 128 * 160 * LENGTH
    megatron_nlg = System(
        "MT-NLG 530B", "a100", tensor=8, data=8, stages=35, pods=1, micro_batches=240, parameters=530e9,
        model_flops=megatron, recomputed_flops=megatron / 3, layers=105, d_model=20480, batch_size=1920,
        reduces=2, sharded_weights=False, data_is_local=False, published_step_seconds=60.1,
    )  # fmt: skip
    gophers = [
        System(
            f"Gopher 280B, {micro_batches} micro-batches", "v3", tensor=16, data=64, stages=4, pods=1,
            micro_batches=micro_batches, parameters=count(parameter_shapes(gopher)),
            model_flops=train_flops_per_token(gopher, LENGTH),
            recomputed_flops=recomputed_flops_per_token(gopher, LENGTH, 1.0), layers=gopher.num_layers,
            d_model=gopher.d_model, batch_size=3072, reduces=2, sharded_weights=False, data_is_local=True,
            published_step_seconds=1 / 0.0152,
        )
        for micro_batches in (16, 48)
    ]  # fmt: skip
    palm_540b = System(
        "PaLM 540B", "v4", tensor=12, data=256, stages=1, pods=2, micro_batches=1,
        parameters=count(parameter_shapes(palm)), model_flops=train_flops_per_token(palm, LENGTH),
        recomputed_flops=recomputed_flops_per_token(palm, LENGTH, 0.75), layers=palm.num_layers,
        d_model=palm.d_model, batch_size=2048, reduces=1, sharded_weights=True, data_is_local=True,
        published_step_seconds=2048 * LENGTH / 238.3e3,
    )  # fmt: skip
    return [megatron_nlg, *gophers, palm_540b]


def communication_seconds(system: System) -> dict[str, float]:
    """Seconds of a step that a chip spends on each kind of traffic, at full bandwidth; see ASSUMPTIONS."""
    chip = CHIPS[system.chip]
    inside, outside = chip.network_bandwidth, chip.dcn_bandwidth
    tokens = system.tokens / (system.data * system.pods)  # of a replica; all of a stage's chips see them
    activations = tokens * system.d_model * BYTES
    weights = system.parameters / (system.tensor * system.stages) * BYTES
    passes = 2 + (system.recomputed_flops > 0)
    over_data = (system.data - 1) / system.data * weights * (3 if system.sharded_weights else 2)
    sends = 2 * activations / system.tensor if system.stages > 1 else 0.0  # forward and back
    return {
        "tensor": passes * system.reduces * system.layers / system.stages
        * 2 * (system.tensor - 1) / system.tensor * activations / inside,
        "stages": sends / outside,
        "data": over_data / (inside if system.data_is_local else outside),
        "pods": (system.pods - 1) * weights / system.data / outside,
    }  # fmt: skip


def step_seconds(system: System, efficiency: float) -> float:
    """How long a step takes where chips compute at `efficiency` × peak."""
    rate = system.chips * CHIPS[system.chip].peak_flops * efficiency
    compute = system.tokens * (system.model_flops + system.recomputed_flops) / rate
    apart = communication_seconds(system)
    piped = (compute + apart["tensor"] + apart["stages"]) / (1 - bubble(system.stages, system.micro_batches))
    return piped + apart["data"] + apart["pods"]


def calibrated_efficiency(system: System) -> float:
    """The efficiency with which `step_seconds` gives the published time: it is linear in 1 / efficiency."""
    waiting = step_seconds(system, float("inf"))
    return (step_seconds(system, 1.0) - waiting) / (system.published_step_seconds - waiting)


def system_rows(systems: Sequence[System]) -> list[dict[str, Any]]:
    """One per system. Shares are of the published step. A prediction's efficiency is the mean of those of the
    others, each family once.
    """
    families = {system.name.split()[0] for system in systems}
    efficiencies = {
        family: [calibrated_efficiency(system) for system in systems if system.name.startswith(family)]
        for family in families
    }
    means = {family: sum(values) / len(values) for family, values in efficiencies.items()}
    rows = []
    for system in systems:
        others = [mean for family, mean in means.items() if not system.name.startswith(family)]
        efficiency = calibrated_efficiency(system)
        apart, total = communication_seconds(system), system.published_step_seconds
        waiting = (total - apart["data"] - apart["pods"]) * bubble(system.stages, system.micro_batches)
        rows.append(
            {
                "system": system.name,
                "chips": system.chips,
                "chip": system.chip,
                "micro_batches": system.micro_batches,
                "published_step_seconds": total,
                "bubble": waiting / total,
                **{f"communication_{kind}": seconds / total for kind, seconds in apart.items()},
                "communication": sum(apart.values()) / total,
                "published_mfu": system.mfu(total),
                "mfu_without_bubble": system.mfu(total - waiting),
                "calibrated_efficiency": efficiency,
                "predicted_mfu": system.mfu(step_seconds(system, sum(others) / len(others))),
            }
        )
    return rows
