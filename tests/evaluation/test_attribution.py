"""What is attributed to a neighbour is what the whole model does without it."""

import jax
import numpy as np
import pytest

from evaluation.attribution import attribute
from models.decoder import Neighbours
from models.retro.shares import attention_shares
from tests.models.small import FORMS, SHORT_CHUNK, initialised

CONFIG, K = FORMS["retro on PaLM's block"], 3  # a layer after cross-attention: later chunks feel it too
CHUNKS, LENGTH = 3, 3 * SHORT_CHUNK + 3  # tokens, of which the last is not read
TOLERANCE = 1e-5  # absolute, on nats of order ten: cached steps against the whole, in float32


def text(length=LENGTH, seed=0):
    random, chunks = np.random.default_rng(seed), (length - 1) // SHORT_CHUNK
    shape = (chunks, K, 2 * SHORT_CHUNK)
    mask = np.ones(shape, bool)
    mask[1:2, 2] = False
    return random.integers(0, 1024, length), Neighbours(random.integers(0, 1024, shape, np.int32), mask)


@pytest.fixture(scope="module")
def attributed():
    return attribute(*initialised(CONFIG), *text())


def test_losses_are_those_of_the_whole_model_with_none_all_and_all_but_one(attributed):
    tokens, near = text()
    masks = [near.mask, np.zeros_like(near.mask)]
    for u, c in np.ndindex(CHUNKS, K):
        masks.append(near.mask.copy())
        masks[-1][u, c] = False
    model, params = initialised(CONFIG)
    batch = len(masks)
    neighbours = Neighbours(np.broadcast_to(near.tokens, (batch, *near.tokens.shape)), np.stack(masks))
    logits = jax.jit(model.apply)(params, np.tile(tokens[:-1], (batch, 1)), neighbours)
    nats = -np.asarray(jax.nn.log_softmax(logits))[:, np.arange(LENGTH - 1), tokens[1:]]
    np.testing.assert_allclose(attributed.nats_on, nats[0], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(attributed.nats_off, nats[1], rtol=0, atol=TOLERANCE)
    for (u, c), without in zip(np.ndindex(CHUNKS, K), nats[2:], strict=True):
        informed = slice(SHORT_CHUNK * (u + 1) - 1, SHORT_CHUNK * (u + 2) - 1)
        expected = without[informed]
        actual = attributed.nats_without[u, c]
        np.testing.assert_allclose(actual[: len(expected)], expected, rtol=0, atol=TOLERANCE)
        assert np.isnan(actual[len(expected) :]).all()
        assert (np.abs(actual[: len(expected)] - nats[0, informed]).max() > 1e-3) == near.mask[u, c].any()


def test_shares_are_means_over_what_predicts_a_token_and_sum_to_one(attributed):
    tokens, near = text()
    _, params = initialised(CONFIG)
    batch = Neighbours(*(field[None] for field in near))
    padded = np.append(tokens, 0)[None, :-1]  # as attribute reads it, so that nothing is compiled anew
    weights = np.asarray(jax.jit(attention_shares, static_argnums=0)(CONFIG, params, padded, batch))
    for u in range(CHUNKS):
        asking = weights[:, 0, u, : min(SHORT_CHUNK, LENGTH - SHORT_CHUNK * (u + 1))]
        np.testing.assert_allclose(attributed.shares[u], asking.mean((0, 1, 2)), rtol=0, atol=1e-6)
    np.testing.assert_allclose(attributed.shares.sum(-1), 1, rtol=0, atol=1e-6)
    assert attributed.shares[1, 2] == 0


def test_a_text_that_has_retrieved_nothing_yet():
    """Its first chunk is complete, but no token follows."""
    attribution = attribute(*initialised(CONFIG), *text(SHORT_CHUNK))
    assert len(attribution.nats_on) == SHORT_CHUNK - 1 and attribution.shares.shape == (0, K)
    np.testing.assert_allclose(attribution.nats_on, attribution.nats_off, rtol=0, atol=TOLERANCE)
