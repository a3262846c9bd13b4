"""What the papers ablate: each switch does what its name says, and no other value is taken."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from errors import InputError
from models.families import build, configuration, count, lengthened, parameter_shapes
from tests.models.small import LENGTH, M, initialised, neighbours, small, tokens

RETRO = small("retro")


@pytest.mark.parametrize(
    "name, field, value",
    [
        ("palm", "block", "sequential"), ("palm", "attention", "grouped"), ("palm", "feed_forward", "geglu"),
        ("palm", "positions", "alibi"), ("palm", "norm", "batch"), ("palm", "remat", "some"), ("palm", "embeddings", "shared"),
        ("gopher", "positions", "rope"), ("gopher", "activation", "swish"), ("gopher", "norm", "none"),
        ("retro", "encoder_embedding", "none"), ("retro", "neighbour_content", "N"),
        ("retro", "cca_initialisation", "zero"), ("retro", "encoder_activation", "tanh"),
        ("retro", "cca_layers", (2, 3)), ("retro", "cca_layers", ()), ("retro", "cca_layers", (0, 1)),
    ],
)  # fmt: skip
def test_a_switch_value_that_does_not_exist(name, field, value):
    with pytest.raises(InputError, match=field) as error:
        small(name, **{field: value})
    assert str(value) in str(error.value)


def normed(x):
    return x / np.sqrt(np.mean(np.square(x), -1, keepdims=True) + 1e-6)


def test_parallel_and_serial_blocks_against_their_formulas():
    """With attention's output silenced y = x + MLP(norm(x)) in both; with it, only the parallel form adds
    MLP(norm(x)) of the block's own input.
    """
    parallel, params = initialised(small("palm", num_layers=1))
    serial = build(small("palm", num_layers=1, block="serial"))
    block = params["parallel_block"]
    split = {
        **params,
        "attention": {p: v for p, v in block.items() if "attention" in p} | {"norm": block["norm"]},
        "feed_forward": {p: v for p, v in block.items() if "swiglu" in p} | {"norm": block["norm"]},
    }
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 9, 32)), jnp.float32)
    scale = block["norm"]["scale"][0]

    def mlp(x):
        w = {name: block[f"swiglu/{name}"]["w"][0] for name in ("gate", "up", "down")}
        return (jax.nn.silu(x @ w["gate"]) * (x @ w["up"])) @ w["down"]

    silent = "multi_query_attention/output"
    quiet = {**split, "attention": split["attention"] | {silent: {"w": 0 * block[silent]["w"]}}}
    in_parallel, in_series = parallel.layers(params, x, 0, 1), serial.layers(split, x, 0, 1)
    of_mlp = mlp(normed(x) * scale[None, None])
    np.testing.assert_allclose(serial.layers(quiet, x, 0, 1), x + of_mlp, rtol=1e-4, atol=1e-4)
    attended = in_parallel - of_mlp  # x + Attention(norm(x))
    after = attended + mlp(normed(attended) * scale[None, None])
    np.testing.assert_allclose(in_series, after, rtol=1e-3, atol=1e-3)
    assert jnp.abs(in_parallel - in_series).max() > 1e-2


@pytest.mark.parametrize("feed_forward, function", [("gelu", jax.nn.gelu), ("relu", jax.nn.relu)])
def test_two_matrix_feed_forward_in_palm(feed_forward, function):
    model, params = initialised(
        small("palm", num_layers=1, block="serial", feed_forward=feed_forward, d_ff=168)
    )
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 32)), jnp.float32)
    silent = "multi_query_attention/output"
    attention = params["attention"] | {silent: {"w": 0 * params["attention"][silent]["w"]}}
    stack = params["feed_forward"]
    hidden = function(normed(x) * stack["norm"]["scale"][None] @ stack["feed_forward/up"]["w"][0])
    expected = x + hidden @ stack["feed_forward/down"]["w"][0]
    actual = model.layers({**params, "attention": attention}, x, 0, 1)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
    # 3/2 of the width, as many parameters.
    assert count(parameter_shapes(model.config)["feed_forward"]) == count(
        parameter_shapes(small("palm", num_layers=1, block="serial"))["feed_forward"]
    )


@pytest.mark.parametrize("family, changes", [
    ("palm", {"positions": "learned"}), ("gopher", {"positions": "learned"}),
])  # fmt: skip
def test_learned_positions_add_a_row_by_position(family, changes):
    model, params = initialised(small(family, max_length=12, **changes))
    embedding = params["embedding"]["embedding"]
    assert embedding["positions"].shape == (12, 32)
    scale = {"palm": 1.0, "gopher": 32**0.5}[family]
    ids = tokens(length=12)
    expected = scale * (embedding["table"][ids] + embedding["positions"][None])
    np.testing.assert_allclose(model.embed(params, ids), expected, rtol=1e-5)
    with pytest.raises(InputError, match="12 learned positions"):
        model.apply(params, tokens(length=13))


@pytest.mark.parametrize("decoder, retro", [("palm", False), ("gopher", False), ("palm", True)])
def test_learned_positions_can_be_lengthened(decoder, retro):
    """What was trained on 130 tokens reads 192, and the first 130 as before; later rows are the last one."""
    trained, longer = 130, LENGTH
    dense = small(decoder, positions="learned", max_length=trained)
    config = dataclasses.replace(RETRO, decoder=dense) if retro else dense
    model, params = initialised(config)
    lengthened_config, lengthened_params = lengthened(config, params, longer)
    assert lengthened_config.max_length == longer
    assert jax.tree.map(jnp.shape, lengthened_params) == jax.tree.map(
        lambda leaf: leaf.shape, parameter_shapes(lengthened_config)
    )
    before, after = (p["embedding"]["embedding"]["positions"] for p in (params, lengthened_params))
    np.testing.assert_array_equal(after[:trained], before)
    np.testing.assert_array_equal(after[trained:], np.tile(before[-1:], (longer - trained, 1)))
    near = neighbours() if retro else None
    first = jax.tree.map(lambda x: x[:, : trained // M], near)
    logits = jax.jit(build(lengthened_config).apply)(lengthened_params, tokens(), near)
    assert logits.shape[1] == longer and jnp.isfinite(logits).all()
    expected = jax.jit(model.apply)(params, tokens()[:, :trained], first)
    np.testing.assert_allclose(logits[:, :trained], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config, length", [
    (small("palm"), 4096), (small("palm", positions="relative"), 4096), (small("gopher"), 4096),
    (RETRO, 4096), (small("gopher", positions="learned"), 2048),
])  # fmt: skip
def test_what_reads_any_length_is_not_lengthened(config, length):
    params = parameter_shapes(config)
    same_config, same_params = lengthened(config, params, length)
    assert same_config is config and same_params is params


@pytest.mark.parametrize("family, changes", [
    ("palm", {}), ("palm", {"positions": "relative"}), ("palm", {"positions": "learned"}),
    ("palm", {"positions": "relative", "attention": "multi_head"}), ("gopher", {}),
    ("gopher", {"positions": "learned"}),
])  # fmt: skip
def test_every_kind_of_position_tells_orders_apart(family, changes):
    """Without positions, swapping two earlier tokens would leave the last logits as they are."""
    model, params = initialised(small(family, num_layers=1, **changes))
    ids = tokens(length=8, batch=1)
    swapped = ids.at[0, 2].set(ids[0, 5]).at[0, 5].set(ids[0, 2])
    apply = jax.jit(model.apply)
    assert jnp.abs(apply(params, ids)[0, -1] - apply(params, swapped)[0, -1]).max() > 1e-4


def test_beyond_the_training_length_all_distances_are_alike():
    """Distances from max_length − 1 on share one position term, so far keys may change places."""
    model, params = initialised(small("gopher", num_layers=1, max_length=4))
    ids = tokens(length=10, batch=1)
    swapped = ids.at[0, 1].set(ids[0, 4]).at[0, 4].set(ids[0, 1])
    apply = jax.jit(model.apply)
    np.testing.assert_allclose(apply(params, ids)[0, -1], apply(params, swapped)[0, -1], rtol=1e-5, atol=1e-5)
    assert jnp.abs(apply(params, ids)[0, 5] - apply(params, swapped)[0, 5]).max() > 1e-4


def test_untied_embeddings_look_up_in_one_matrix_and_score_with_another():
    """V · D parameters more, drawn alike; the rest is as it is where they are tied."""
    (tied, of_tied), (model, params) = (
        (model := build(small("palm", embeddings=embeddings)), jax.jit(model.init)(jax.random.key(0)))
        for embeddings in ("tied", "untied")
    )
    assert count(params) == count(of_tied) + 1024 * 32
    table, output = (params["embedding"]["embedding"][name] for name in ("table", "output"))
    assert jnp.std(output) == pytest.approx(1, abs=0.02)
    assert jnp.abs(jnp.corrcoef(table.ravel(), output.ravel())[0, 1]) < 0.02
    ids = tokens(length=8)
    np.testing.assert_array_equal(model.embed(params, ids), tied.embed(of_tied, ids))
    same = {**params, "embedding": {"embedding": {"table": table[::-1], "output": table}}}
    x = model.hidden(params, ids)
    np.testing.assert_array_equal(model.unembed(same, x), tied.unembed(of_tied, x))


def test_an_untied_table_learns_from_the_tokens_read_and_the_output_from_every_score():
    model, params = initialised(small("palm", embeddings="untied"))
    ids = tokens(length=8)

    def loss(params):
        return jnp.mean(jax.nn.logsumexp(model.apply(params, ids), axis=-1))

    gradient = jax.jit(jax.grad(loss))(params)["embedding"]["embedding"]
    read = np.isin(np.arange(1024), ids)
    np.testing.assert_array_equal(gradient["table"].any(axis=1), read)
    assert gradient["output"].any(axis=1).all()


def test_copying_needs_tied_embeddings():
    decoder = small("palm", embeddings="untied")
    config = dataclasses.replace(
        RETRO, decoder=decoder, encoder_embedding="shared", cca_initialisation="copying"
    )
    with pytest.raises(InputError, match="embeddings='tied'"):
        parameter_shapes(config)


def test_one_key_value_head_or_as_many_as_queries():
    one, many = (parameter_shapes(small("palm", attention=a)) for a in ("multi_query", "multi_head"))
    assert one["parallel_block"]["multi_query_attention/key"]["w"].shape == (2, 32, 16)
    assert many["parallel_block"]["multi_head_attention/key"]["w"].shape == (2, 32, 32)


@pytest.mark.parametrize("content, read", [("neighbour", slice(0, M)), ("continuation", slice(M, 2 * M))])
def test_a_neighbours_unread_half_does_not_matter(content, read):
    model, params = initialised(dataclasses.replace(RETRO, neighbour_content=content))
    near, apply = neighbours(), jax.jit(model.apply)
    unread = np.ones(2 * M, bool)
    unread[read] = False
    before = apply(params, tokens(), near)
    other = near._replace(tokens=jnp.where(unread[None, None, None], (near.tokens + 1) % 1024, near.tokens))
    assert (apply(params, tokens(), other) == before).all()
    changed = near._replace(tokens=jnp.where(unread[None, None, None], near.tokens, (near.tokens + 1) % 1024))
    assert jnp.abs(apply(params, tokens(), changed) - before).max() > 1e-4


def test_an_encoder_that_is_not_conditioned_has_no_cross_attention():
    bare = parameter_shapes(dataclasses.replace(RETRO, encoder_conditioned=False))
    published = parameter_shapes(RETRO)
    assert published["encoder"].keys() - bare["encoder"].keys() == {"cross_attention"}


def test_without_positions_cross_attention_cannot_tell_a_neighbours_order():
    """Encoded tokens that change places are the same set of keys; with positions they are not."""
    from models.decoder import operator
    from models.retro.chunked_cross_attention import ChunkedCrossAttention

    random = np.random.default_rng(0)
    x, encoded = (jnp.asarray(random.normal(size=s), jnp.float32) for s in [(1, 130, 16), (1, 2, 2, 9, 12)])
    mask = jnp.ones(encoded.shape[:-1], bool)
    for relative in (True, False):
        op = operator(lambda *inputs, r=relative: ChunkedCrossAttention(2, 8, M, "rms", 1.0, r)(*inputs))
        shapes = jax.eval_shape(op.init, jax.random.key(0), x, encoded, mask)
        params = jax.tree.map(lambda p: jnp.asarray(0.5 * random.normal(size=p.shape), jnp.float32), shapes)
        apply = jax.jit(op.apply)
        moved = jnp.abs(
            apply(params, x, encoded, mask) - apply(params, x, encoded[:, :, :, ::-1], mask)
        ).max()
        assert (moved > 1e-3) == relative
        assert any(path.endswith("relative") for path in params) == relative


@pytest.mark.parametrize(
    "changes, encoder_embedding",
    [({}, "own"), ({"block": "serial", "embeddings": "untied"}, "shared")],
)
def test_retro_on_palms_block(changes, encoder_embedding):
    """Retrieval-off is PaLM bit for bit, and neighbours act from the last token of their chunk on."""
    decoder = small("palm", **changes)
    config = dataclasses.replace(RETRO, decoder=decoder, encoder_embedding=encoder_embedding)
    model, params = initialised(config)
    dense, apply, near = build(config.decoder), jax.jit(model.apply), neighbours()
    assert (apply(params, tokens()) == jax.jit(dense.apply)(params, tokens())).all()
    changed = near._replace(tokens=near.tokens.at[:, 1].add(1) % 1024)
    moved = jnp.abs(apply(params, tokens(), changed) - apply(params, tokens(), near)).max(axis=(0, 2))
    assert (moved[: 2 * M - 1] == 0).all() and moved[2 * M - 1] > 0
    assert LENGTH > 2 * M


def test_published_forms_are_the_defaults():
    palm, gopher, retro = (configuration(name) for name in ("palm/540b", "gopher/280b", "retro/7.5b"))
    assert (palm.block, palm.attention, palm.feed_forward, palm.positions, palm.embeddings) == (
        "parallel", "multi_query", "swiglu", "rope", "tied")  # fmt: skip
    assert (gopher.positions, gopher.norm) == ("relative", "rms")
    assert retro.encoder_conditioned and retro.cca_positions and retro.encoder_embedding == "own"
    assert (retro.neighbour_content, retro.num_neighbours) == ("both", 2)
