"""What a training step asks of each device, from configuration and mesh alone: FLOPs, memory traffic, bytes
sent, bytes held. Good enough to choose among layouts; the compiler then has the last word on memory and on
what is sent.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from models.families import count, parameter_shapes, with_decoder_fields
from models.flops import train_flops_per_token
from parallelism.mesh import MeshShape
from planning.roofline import Work
from training.precision import COPY, MIXED

HALF, FULL = 2, 4  # bytes of bfloat16 and float32
# Of a parameter, with two moments: in float32; and in bfloat16 beside a float32 copy.
STATE_BYTES = {MIXED: 3 * FULL, COPY: HALF + 3 * FULL}
# The optimiser reads gradient and state and writes the state.
UPDATE_BYTES = {policy: FULL + 2 * size for policy, size in STATE_BYTES.items()}
FORWARDS_WITH_REMATERIALISATION = 4  # forward, again, and backward twice that


@dataclass(frozen=True)
class Run:
    """A training step as planned. Sequences are of `length` tokens, activations all rematerialised."""

    config: Any
    mesh: MeshShape
    batch: int
    length: int
    micro_batches: int
    precision: str

    @property
    def decoder(self) -> Any:
        return self.config.decoder

    @property
    def tokens(self) -> float:
        """Of a device's rows."""
        return self.batch * self.length / (self.mesh.pod * self.mesh.data)

    @property
    def parameters(self) -> int:
        return _counts(self.config)[0]


def work(run: Run, sent: dict[str, float] | None = None) -> Work:
    """What one device does in a step.

    Args:
      sent: bytes by mesh axis, from a compiled program; None estimates them.
    """
    model_flops = _flops_per_token(run.config, run.length) * run.batch * run.length / run.mesh.size
    sent = estimated_bytes(run) if sent is None else sent
    between = sent.get("pod", 0.0)
    last = between * (1 - _in_layers(run) * (1 - 1 / run.decoder.num_layers))
    return Work(
        model_flops,
        model_flops / 3,
        memory_traffic(run),
        {axis: size for axis, size in sent.items() if axis != "pod"},
        between,
        last,
    )


def estimated_bytes(run: Run) -> dict[str, float]:
    """What a device sends over rings along each mesh axis in a step (parallelism.rules): activations over
    model, weights and their gradients over data, gradients over pod, in 2 bytes.
    """
    mesh, config = run.mesh, run.decoder
    activation = run.tokens * config.d_model * HALF * (mesh.model - 1) / mesh.model
    # Per operator a gather and a scatter forward, a gather more and the same backward, and a scatter again
    # wherever another operator of its layer follows; the embedding and the head as one operator more, not
    # rematerialised.
    operators = _operators(run.config)
    passes = 6 * operators - config.num_layers + 4
    shards = run.parameters / mesh.model * HALF
    over_data = 3 * run.micro_batches * shards * (mesh.data - 1) / mesh.data
    over_pods = run.micro_batches * 2 * (mesh.pod - 1) / mesh.pod * shards / mesh.data
    sent = {"model": passes * activation, "data": over_data, "pod": over_pods}
    return {axis: size for axis, size in sent.items() if size}


def memory_traffic(run: Run) -> float:
    """Bytes between a device and its HBM in a step, beside matrix products;
    planning.roofline.ASSUMPTIONS.
    """
    config, mesh = run.decoder, run.mesh
    width = config.num_heads * config.head_size
    kernels = 3 if getattr(config, "feed_forward", "") == "swiglu" else 2
    split = (2 * width + kernels * config.d_ff) / mesh.model
    per_layer = (
        run.tokens * HALF * (8 * config.d_model * _operators(run.config) / config.num_layers + 2 * split)
    )
    logit_passes = 8 if config.positions == "relative" else 4
    # Blocks of queries meet the keys that their segment sees: a little over half of the square.
    logits = run.tokens * config.num_heads / mesh.model * run.length * 9 / 16 * FULL * logit_passes
    layers = config.num_layers * FORWARDS_WITH_REMATERIALISATION * (per_layer + logits)
    head = 4 * run.tokens * config.vocab_size / mesh.model * FULL
    update = run.parameters / (mesh.data * mesh.model) * UPDATE_BYTES[run.precision]
    return layers + head + update


def estimated_gib(run: Run) -> float:
    """What a device holds at most, about: state, gradients, one slice of an activation per layer, a layer at
    work and its gathered weights, and logits.
    """
    config, mesh = run.decoder, run.mesh
    shards = run.parameters / (mesh.data * mesh.model)
    rows = run.tokens / run.micro_batches
    accumulated = 2 * FULL if run.micro_batches > 1 else FULL
    state = shards * (STATE_BYTES[run.precision] + HALF + accumulated)
    carried = config.num_layers * rows * config.d_model / mesh.model * HALF
    layer = run.parameters / config.num_layers / mesh.model * HALF
    hidden = rows * (
        4 * config.d_model + (3 * config.d_ff + 4 * config.num_heads * config.head_size) / mesh.model
    )
    logits = rows * config.vocab_size / mesh.model * FULL
    return (state + carried + 2 * layer + hidden * HALF + 2 * logits) / 2**30


def _in_layers(run: Run) -> float:
    """The share of parameters that layers hold; the rest is ready only when the backward pass ends."""
    total, layers = _counts(run.config)
    return layers / total


@cache
def _counts(config: Any) -> tuple[int, int]:
    """Parameters, and those of them that layers hold."""
    shapes = parameter_shapes(config)
    return count(shapes), count(shapes) - count({name: shapes[name] for name in ("embedding", "final_norm")})


@cache
def _flops_per_token(config: Any, length: int) -> float:
    """Of the model, whose vocabulary is not padded, as the papers count that MFU is predicted for."""
    return train_flops_per_token(with_decoder_fields(config, vocab_multiple=1), length)


def _operators(config: Any) -> int:
    """Residual operators over the whole depth; RETRO's encoder counted by the width of its stream beside the
    decoder's, for each of a chunk's neighbours.
    """
    decoder = config.decoder
    per_layer = 1 if getattr(decoder, "block", "serial") == "parallel" else 2
    operators = per_layer * decoder.num_layers
    if not config.retrieves:
        return operators
    neighbour_tokens = config.num_neighbours * config.content_length / config.chunk
    encoder = (2 * config.encoder_layers + 1) * neighbour_tokens * config.encoder_d_model / decoder.d_model
    # Every chunked cross-attention gathers the encoded neighbours beside the stream.
    attending = len(config.cca_layers) * (1 + neighbour_tokens * config.encoder_d_model / decoder.d_model / 2)
    return round(operators + encoder + attending)
