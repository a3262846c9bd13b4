"""A model that is compiled in a moment, for what does not depend on the model: layers x + tanh(x·U)·D between
a tied embedding, which know of no other position. Parameters have the names of `parallelism.rules`.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from errors import InputError
from parallelism.interface import Objective, Part

VOCAB, WIDTH, LAYERS, LENGTH = 16, 8, 2, 4
PARAMETERS = VOCAB * WIDTH + LAYERS * 2 * WIDTH * WIDTH


def init(key):
    keys = jax.random.split(key, 3)
    stack = (LAYERS, WIDTH, WIDTH)
    return {
        "embedding": {"table": jax.random.normal(keys[0], (VOCAB, WIDTH))},
        "layers": {
            name: {"w": 0.3 * jax.random.normal(k, stack)} for name, k in zip(("up", "down"), keys[1:])
        },
    }


def perceptrons(around=lambda layer, x: x):
    """The objective. around: (number of the layer, activations) -> the same, its input"""

    def take(start, stop, params):
        taken = {"layers": jax.tree.map(lambda w: w[start:stop], params["layers"])}
        return taken | ({"embedding": params["embedding"]} if start == 0 or stop == LAYERS else {})

    def apply(start, stop, taken, x, batch):
        if start == 0:
            x = taken["embedding"]["table"][batch["tokens"]]
        for layer in range(start, stop):
            up, down = (taken["layers"][name]["w"][layer - start] for name in ("up", "down"))
            x = x + jnp.tanh(around(layer, x) @ up) @ down
        if stop < LAYERS:
            return x
        logits = jax.nn.log_softmax(x @ taken["embedding"]["table"].T)
        nats = -jnp.take_along_axis(logits, batch["targets"][..., None], axis=-1)[..., 0]
        total = jnp.sum(nats * batch["weights"])
        return total, {"weight": jnp.sum(batch["weights"]), "nats": total}

    def parts(count):
        if count > LAYERS:
            raise InputError("more parts than layers")
        bounds = [LAYERS * n // count for n in range(count + 1)]
        return [Part(partial(take, *ends), partial(apply, *ends)) for ends in zip(bounds, bounds[1:])]

    def loss(params, batch):
        return apply(0, LAYERS, take(0, LAYERS, params), None, batch)

    return Objective(init, loss, lambda params, batch: batch["weights"], parts)


def batch(step, rows):
    random = np.random.default_rng(step)
    tokens = random.integers(0, VOCAB, (rows, LENGTH + 1)).astype(np.int32)
    weights = (random.random((rows, LENGTH)) < 0.8).astype(np.float32)
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weights": weights}
