"""Which neighbours a RETRO attends to. It stands beside the model and costs it nothing: `Model.run` runs the
layers, and only the weights of chunked cross-attention are computed once more.
"""

import jax
import jax.numpy as jnp

from models.decoder import Carry, Neighbours, Params, operator
from models.retro.config import RETROConfig
from models.retro.model import retro
from models.retro.operators import cross_attention, neighbours_read, retro_operators
from models.stack import layer


def attention_shares(
    config: RETROConfig, params: Params, tokens_bt: jax.Array, neighbours: Neighbours
) -> jax.Array:
    """float32 [P, B, U, m, H, k]: what part of its attention each query gives to each neighbour, in each of
    the P layers with chunked cross-attention.

    Query i of chunk u stands at position u·m + m − 1 + i. Its shares sum to 1 over the neighbours, and are
    zero where all are missing. Queries past the sequence's end mean nothing.
    """
    model = retro(config)
    name, before = next(iter(retro_operators(config).decoder.residuals.items()))
    weigh = operator(lambda *inputs: cross_attention(config).shares(*inputs))
    mask_bucr = neighbours_read(config, neighbours).mask

    def run(carry, start, stop):
        return model.run(model.take(params, start, stop), carry, start, stop, neighbours)

    carry, done, shares = Carry(model.embed(params, tokens_bt)), 0, []
    for index, number in enumerate(config.cca_layers):
        carry = run(carry, done, number - 1)
        asking_btd = before.whole.apply(layer(params[name], number - 1), carry.x)
        carry, done = run(carry, number - 1, number), number
        shares.append(weigh.apply(layer(params["cca"], index), asking_btd, carry.encoded, mask_bucr))
    return jnp.stack(shares)
