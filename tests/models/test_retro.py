"""RETRO's wiring: when neighbours act, what is masked, and that it is the dense model without them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.decoder import Neighbours, operator
from models.families import build, parameter_shapes
from models.layers.positions import sinusoids
from models.retro.chunked_cross_attention import ChunkedCrossAttention
from tests.models.small import LENGTH, M, R, applied, initialised, neighbours, small, tokens

NAMES = ("query", "key", "value", "relative", "output")
CONFIG = small("retro")
SHARED = dataclasses.replace(CONFIG, encoder_embedding="shared")
DEEP = dataclasses.replace(CONFIG, decoder=small("gopher", num_layers=4), cca_layers=(2, 3), encoder_layers=3)


@pytest.mark.parametrize("config", [CONFIG, DEEP])
def test_retrieval_off_is_the_dense_model_bit_for_bit(config):
    _, params = initialised(config)
    of_dense = parameter_shapes(config.decoder)
    assert jax.tree.structure(of_dense) == jax.tree.structure({name: params[name] for name in of_dense})
    off, alone = applied(config)(params, tokens()), applied(config.decoder)(params, tokens())
    assert (off == alone).all()


@pytest.mark.parametrize("config", [CONFIG, DEEP, SHARED])
def test_neighbours_act_from_the_last_token_of_their_chunk(config):
    """Changing the neighbours of chunk u moves logits from position 64(u + 1) − 1 on, and none before."""
    _, params = initialised(config)
    near, apply = neighbours(), applied(config)
    before = apply(params, tokens(), near)
    for u in range(LENGTH // M):
        changed = near._replace(tokens=near.tokens.at[:, u].add(1) % 1024)
        moved = np.asarray(jnp.abs(apply(params, tokens(), changed) - before).max(axis=(0, 2)))
        first = M * (u + 1) - 1
        assert (moved[:first] == 0).all()
        assert moved[first] > 0


def test_masked_neighbours_do_not_matter():
    _, params = initialised(CONFIG)
    near = neighbours()
    mask = near.mask.at[:, :, 1].set(False).at[:, 1, 0, 70:].set(False)
    garbage = jnp.where(mask, near.tokens, 7)
    apply = applied(CONFIG)
    a, b = (apply(params, tokens(), Neighbours(ids, mask)) for ids in (near.tokens, garbage))
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_without_any_neighbour_the_output_is_the_dense_model():
    model, params = initialised(CONFIG)
    near = neighbours(mask=False)
    apply = applied(CONFIG)
    np.testing.assert_allclose(apply(params, tokens(), near), apply(params, tokens()), rtol=1e-5, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda p: model.apply(p, tokens(), near).sum()))(params)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_the_encoder_reads_the_retrieving_chunk():
    """What chunk u is changes how its neighbours are encoded: with cross-attention silenced, it does not."""
    _, params = initialised(CONFIG)
    silent = jax.tree.map(lambda x: x, params)
    silent["encoder"]["cross_attention"] = jax.tree.map(jnp.zeros_like, params["encoder"]["cross_attention"])
    apply = applied(CONFIG)
    assert jnp.abs(apply(params, tokens(), neighbours()) - apply(silent, tokens(), neighbours())).max() > 1e-4


@pytest.mark.parametrize("length, k, r", [(192, 2, 128), (64, 1, 128), (150, 3, 5), (127, 2, 9)])
def test_chunked_cross_attention_against_the_papers_loop(length, k, r):
    """Attending chunk u holds positions 64u + 63 … 64u + 126; each alone attends to E_u; the rest pass
    unchanged.
    """
    heads, size, width, chunks = 2, 8, 16, length // M
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(1, length, width)), jnp.float32)
    encoded = jnp.asarray(random.normal(size=(1, chunks, k, r, 12)), jnp.float32)
    mask = jnp.ones(encoded.shape[:-1], bool)
    op = operator(lambda x, e, m: ChunkedCrossAttention(heads, size, M, "rms", 1.0)(x, e, m))
    params = jax.tree.map(
        lambda p: jnp.asarray(0.3 * random.normal(size=p.shape), jnp.float32),
        jax.eval_shape(op.init, jax.random.key(0), x, encoded, mask),
    )
    actual = jax.jit(op.apply)(params, x, encoded, mask)
    share = operator(lambda x, e, m: ChunkedCrossAttention(heads, size, M, "rms", 1.0).shares(x, e, m))
    shares = jax.jit(share.apply)(params, x, encoded, mask)

    w = {name: params[f"cca/multi_head_attention/{name}"]["w"] for name in NAMES}
    u, v = params["cca/multi_head_attention"]["u"], params["cca/multi_head_attention"]["v"]
    normed = (
        x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6) * params["cca/norm"]["scale"][None, None]
    )

    @jax.jit
    def one_token(position, keys_kre, i):
        """Token i of an attending chunk over all k·r keys, at d(i, i') = i − i' + m − 1."""
        q = (normed[0, position] @ w["query"]).reshape(1, 1, heads, size)
        keys, values = ((keys_kre @ w[name]).reshape(k, r, heads, size) for name in ("key", "value"))
        distances = sinusoids(i - jnp.arange(r) + M - 1, width) @ w["relative"]
        by_distance = jnp.sum((q[0] + v[None]) * distances.reshape(r, heads, size), -1)
        logits = (jnp.sum((q + u[None, None]) * keys, -1) + by_distance[None]) / size**0.5
        weights = jax.nn.softmax(logits.reshape(k * r, heads), axis=0)
        mixed = jnp.einsum("zh,zhs->hs", weights, values.reshape(k * r, heads, size)).reshape(-1)
        return mixed @ w["output"], weights.reshape(k, r, heads).sum(axis=1).T

    np.testing.assert_array_equal(actual[:, : M - 1], x[:, : M - 1])
    for chunk in range(chunks):
        for i in (0, 1, M - 1):
            position = M * chunk + M - 1 + i
            if position < length:
                read, shares_hk = one_token(position, encoded[0, chunk], i)
                np.testing.assert_allclose(actual[0, position], x[0, position] + read, rtol=1e-4, atol=1e-4)
                np.testing.assert_allclose(shares[0, chunk, i], shares_hk, rtol=0, atol=1e-5)


def test_copying_initialisation_keeps_shapes_and_the_decoder_and_copies():
    """Same tree; untouched decoder; and from the first step on, neighbours that repeat the text lower its
    loss.
    """
    published = jax.jit(build(SHARED).init)(jax.random.key(0))
    copying_model = build(dataclasses.replace(SHARED, cca_initialisation="copying"))
    copying = jax.jit(copying_model.init)(jax.random.key(0))
    assert jax.tree.map(jnp.shape, published) == jax.tree.map(jnp.shape, copying)
    for name in ("embedding", "attention", "feed_forward", "final_norm"):
        for a, b in zip(jax.tree.leaves(published[name]), jax.tree.leaves(copying[name])):
            assert (a == b).all()

    ids = tokens(length=2 * M, batch=4)
    repeat = Neighbours(jnp.broadcast_to(ids[:, None, None], (4, 2, 2, R)), jnp.ones((4, 2, 2, R), bool))

    def nats(params):
        log_p = jax.nn.log_softmax(jax.jit(copying_model.apply)(params, ids, repeat))
        predicted = jnp.take_along_axis(log_p[:, M - 1 : -1], ids[:, M:, None], axis=-1)
        return -float(predicted.mean())

    assert nats(copying) < nats(published) - 0.5
