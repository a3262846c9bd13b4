"""Which neighbours a RETRO attends to. It stands beside the model and costs it nothing: `Model.run` runs the
layers, and only the weights of chunked cross-attention are computed once more.
"""

import jax
import jax.numpy as jnp

from models.decoder import Neighbours, Params, operator
from models.depth import layer
from models.retro.config import RETROConfig
from models.retro.model import cross_attention, decoder_operators, neighbours_read, retro


def attention_shares(
    config: RETROConfig, params: Params, tokens_bt: jax.Array, neighbours: Neighbours
) -> jax.Array:
    """float32 [P, B, U, m, H, k]: what part of its attention each query gives to each neighbour, in each of
    the P layers with chunked cross-attention.

    Query i of chunk u stands at position u·m + m − 1 + i. Its shares sum to 1 over the neighbours, and are
    zero where all are missing. Queries past the sequence's end mean nothing.
    """
    model = retro(config)
    name, before = next(iter(decoder_operators(config).residuals.items()))
    weigh = operator(lambda *inputs: cross_attention(config).shares(*inputs))
    mask_bucr = neighbours_read(config, neighbours).mask

    def run(carry, start, stop):
        return model.run(model.take(params, start, stop), carry, start, stop, neighbours)

    carry, done, shares = (model.embed(params, tokens_bt), None), 0, []
    for index, number in enumerate(config.cca_layers):
        x_btd, encoded = run(carry, done, number - 1)
        carry, done = run((x_btd, encoded), number - 1, number), number
        asking_btd = before.whole.apply(layer(params[name], number - 1), x_btd)
        shares.append(weigh.apply(layer(params["cca"], index), asking_btd, carry[1], mask_bucr))
    return jnp.stack(shares)
