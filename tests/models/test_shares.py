"""The neighbours' shares of cross-attention are those of the model that runs, and nothing is left over."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from models.decoder import Neighbours
from models.retro.chunked_cross_attention import ChunkedCrossAttention
from models.retro.shares import attention_shares
from tests.models.small import FORMS, SHORT_CHUNK, initialised, tokens

CHUNKS, K = 3, 3
LENGTH = CHUNKS * SHORT_CHUNK + 1
CONFIG = FORMS["retro on PaLM's block"]  # cross-attention in two layers


def neighbours(batch=2):
    """Of the first chunk's one is missing, of the second chunk's all; of the third chunk's one ends early."""
    shape = (batch, CHUNKS, K, 2 * SHORT_CHUNK)
    mask = jnp.ones(shape, bool).at[:, 0, 1].set(False).at[:, 1].set(False).at[:, 2, 0, 6:].set(False)
    return Neighbours(jnp.asarray(np.random.default_rng(3).integers(0, 1024, shape), jnp.int32), mask)


def test_shares_are_those_of_the_attention_that_the_model_runs_and_sum_to_one():
    """Every call of the module within the running model is asked for its own."""
    model, params = initialised(CONFIG)
    ids, near, expected = tokens(LENGTH), neighbours(), []

    def watch(call, arguments, keywords, context):
        if isinstance(context.module, ChunkedCrossAttention) and context.method_name == "__call__":
            jax.debug.callback(expected.append, context.module.shares(*arguments), ordered=True)
        return call(*arguments, **keywords)

    with hk.intercept_methods(watch):
        jax.block_until_ready(jax.jit(lambda: model.hidden(params, ids, near))())
        jax.effects_barrier()
    shares = np.asarray(jax.jit(attention_shares, static_argnums=0)(CONFIG, params, ids, near))
    assert shares.shape == (len(CONFIG.cca_layers), 2, CHUNKS, SHORT_CHUNK, 2, K)
    np.testing.assert_allclose(shares, np.stack(expected), rtol=0, atol=1e-5)

    total = shares.sum(-1)
    np.testing.assert_allclose(total[:, :, [0, 2]], 1, rtol=0, atol=1e-6)
    assert (total[:, :, 1] == 0).all(), "nothing was there to attend to"
    assert (shares[:, :, 0, :, :, 1] == 0).all() and (shares[:, :, 0, :, :, [0, 2]] > 0).all()
