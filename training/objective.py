"""What a strategy needs of a model to train and to evaluate it: functions of (params, batch)."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from models.decoder import Model
from training.losses import in_parts, next_token_loss, token_nats
from training.precision import cast_for_compute

# PaLM section 5: 1e-4 · log²Z; the other papers have no such term.
Z_LOSS = {"palm": 1e-4, "gopher": 0.0, "retro": 0.0}

# A batch on its way to the device: tokens, targets [B, T] int32, weights [B, T] float32, neighbours
# (Neighbours or None).
DeviceBatch = Mapping[str, Any]


# The operators of a model that `unembed` reads.
HEAD = ("embedding", "final_norm")


# Tokens whose logits fit into a CPU's cache beside the embedding.
PART = 512


def loss_parts(batch_size: int, length: int, devices: int) -> int:
    """In how many parts of the length the loss of a batch is best taken; see training.losses.in_parts."""
    return 1 if devices > 1 else math.gcd(length, max(1, batch_size * length // PART))


def objective(model: Model, family: str, precision: str, parts: int = 1) -> tuple[Callable, Callable]:
    """(loss, metric) of `model`.

    loss: (params, batch) -> (scalar to descend, {"nats": mean cross entropy per predicted token}).
    metric: (params, batch) -> nats [B, T], zero where nothing is predicted.
    parts: of the length, in which the loss is taken; see `loss_parts`.
    """

    def loss(params: Any, batch: DeviceBatch) -> tuple[jax.Array, dict[str, jax.Array]]:
        params = cast_for_compute(params, precision)
        total = jnp.maximum(jnp.sum(batch["weights"]), 1.0)

        def of_part(head, x_btd, others):
            return next_token_loss(model.unembed(head, x_btd), *others, Z_LOSS[family], total)

        x_btd = model.hidden(params, batch["tokens"], batch["neighbours"])
        head = {name: params[name] for name in HEAD}
        value, sums = in_parts(of_part, parts)(head, x_btd, (batch["targets"], batch["weights"]))
        return value, {"nats": sums["nats"] / total}

    def metric(params: Any, batch: DeviceBatch) -> jax.Array:
        logits = model.apply(cast_for_compute(params, precision), batch["tokens"], batch["neighbours"])
        return token_nats(logits, batch["targets"]) * batch["weights"]

    return loss, metric
