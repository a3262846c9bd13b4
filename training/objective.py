"""What a strategy needs of a model to train and to evaluate it: functions of (params, batch)."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from errors import InputError
from models.decoder import Carry, Model, Neighbours
from models.families import FAMILIES
from parallelism.interface import Objective, Part
from training.losses import in_parts, next_token_sums, over_length, token_nats
from training.precision import cast_for_compute

# A batch on its way to the device: tokens, targets [B, T] int32, weights [B, T] float32, neighbours
# (Neighbours or None).
DeviceBatch = Mapping[str, Any]


# The operators of a model that `unembed` reads.
HEAD = ("embedding", "final_norm")


# So many are held at once in evaluation: 256 MiB.
MOST_LOGITS = 2**26

# Tokens whose logits fit into a CPU's cache beside the embedding.
PART = 512


def loss_parts(batch_size: int, length: int, devices: int) -> int:
    """In how many parts of the length the loss of a batch is best taken; see training.losses.in_parts."""
    return 1 if devices > 1 else math.gcd(length, max(1, batch_size * length // PART))


def batch_shapes(config: Any, batch_size: int, length: int) -> DeviceBatch:
    """The shapes of a batch of a model."""
    tokens = jax.ShapeDtypeStruct((batch_size, length), jnp.int32)
    neighbours = None
    if config.retrieves:
        shape = (batch_size, length // config.chunk, config.num_neighbours, config.neighbour)
        neighbours = Neighbours(
            jax.ShapeDtypeStruct(shape, jnp.int32), jax.ShapeDtypeStruct(shape, jnp.bool_)
        )
    weights = jax.ShapeDtypeStruct((batch_size, length), jnp.float32)
    return {"tokens": tokens, "targets": tokens, "weights": weights, "neighbours": neighbours}


def objective(
    model: Model, family: str, precision: str, loss_parts: int = 1, z_loss: float | None = None
) -> Objective:
    """`model` trained by the loss of its family, computing in `precision`.

    Its loss reports {"nats": cross entropy, "weight": tokens predicted}; its metric is nats [B, T], zero
    where nothing is predicted.

    Args:
      loss_parts: of the length, in which the loss is taken; see the function of that name.
      z_loss: the weight of log²Z in the loss; None for the family's own, 0.0 for cross entropy alone.
    """
    z_loss = FAMILIES[family].z_loss if z_loss is None else z_loss
    num_layers = model.config.decoder.num_layers

    def of_head(head: Any, x_btd: jax.Array, batch: DeviceBatch) -> tuple[jax.Array, dict[str, jax.Array]]:
        def of_part(head, x_btd, others):
            total, sums = next_token_sums(model.unembed(head, x_btd), *others, z_loss)
            return total, {name: sums[name] for name in ("nats", "weight")}

        return in_parts(of_part, loss_parts)(head, x_btd, (batch["targets"], batch["weights"]))

    def head_of(params):
        return {name: params[name] for name in HEAD}

    def loss(params: Any, batch: DeviceBatch) -> tuple[jax.Array, dict[str, jax.Array]]:
        params = cast_for_compute(params, precision)
        return of_head(head_of(params), model.hidden(params, batch["tokens"], batch["neighbours"]), batch)

    def metric(params: Any, batch: DeviceBatch) -> jax.Array:
        params = cast_for_compute(params, precision)
        x_btd = model.hidden(params, batch["tokens"], batch["neighbours"])
        parts = 1
        if loss_parts > 1:
            logits = batch["targets"].size * model.config.vocab_size
            parts = math.gcd(x_btd.shape[1], max(1, logits // MOST_LOGITS))

        def of_part(part):
            return token_nats(model.unembed(params, part[0]), part[1])

        return over_length(of_part, parts, (x_btd, batch["targets"])) * batch["weights"]

    def take(start, stop, params):
        taken = {"layers": model.take(params, start, stop)}
        if start == 0 or stop == num_layers:
            taken["head"] = head_of(params)
        return taken

    def apply(start, stop, taken, carry, batch):
        taken = cast_for_compute(taken, precision)
        if start == 0:
            carry = Carry(model.embed(taken["head"], batch["tokens"]))
        carry = model.run(taken["layers"], carry, start, stop, batch["neighbours"])
        return of_head(taken["head"], carry.x, batch) if stop == num_layers else carry

    def parts(count: int) -> list[Part]:
        if not 1 <= count <= num_layers:
            raise InputError(f"A model of {num_layers} layers cannot be cut into {count} parts.")
        bounds = [num_layers * index // count for index in range(count + 1)]
        return [Part(partial(take, *ends), partial(apply, *ends)) for ends in zip(bounds, bounds[1:])]

    return Objective(model.init, loss, metric, parts)
