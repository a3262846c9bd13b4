"""What a strategy needs of a model to train and to evaluate it: functions of (params, batch)."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from models.decoder import Model
from training.losses import next_token_loss, token_nats
from training.precision import cast_for_compute

# PaLM section 5: 1e-4 · log²Z; the other papers have no such term.
Z_LOSS = {"palm": 1e-4, "gopher": 0.0, "retro": 0.0}

# A batch on its way to the device: tokens, targets [B, T] int32, weights [B, T] float32, neighbours
# (Neighbours or None).
DeviceBatch = Mapping[str, Any]


def objective(model: Model, family: str, precision: str) -> tuple[Callable, Callable]:
    """(loss, metric) of `model`.

    loss: (params, batch) -> (scalar to descend, {"nats": mean cross entropy per predicted token}).
    metric: (params, batch) -> nats [B, T], zero where nothing is predicted.
    """

    def logits(params, batch):
        return model.apply(cast_for_compute(params, precision), batch["tokens"], batch["neighbours"])

    def loss(params: Any, batch: DeviceBatch) -> tuple[jax.Array, dict[str, jax.Array]]:
        value, sums = next_token_loss(
            logits(params, batch), batch["targets"], batch["weights"], Z_LOSS[family]
        )
        return value, {"nats": sums["nats"] / jax.numpy.maximum(sums["weight"], 1.0)}

    def metric(params: Any, batch: DeviceBatch) -> jax.Array:
        return token_nats(logits(params, batch), batch["targets"]) * batch["weights"]

    return loss, metric
