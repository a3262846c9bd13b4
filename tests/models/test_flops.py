"""The accountant against the papers' own figures, and RETRO's additions against a count by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from models.decoder import Neighbours
from models.families import build, configuration, count, family_of, parameter_shapes
from models.flops import mfu, train_flops_per_token
from studies.environment import matrix_product_peak
from tests.models.products import product_flops
from training.objective import objective

LENGTH = 64  # one block of attention, which spares nothing of the square


@pytest.mark.parametrize("name, tflops", [("palm/8b", 0.0550), ("palm/62b", 0.388), ("palm/540b", 3.28)])
def test_palm_table_22(name, tflops):
    assert train_flops_per_token(configuration(name), 2048) / 1e12 == pytest.approx(tflops, rel=2e-3)


def test_palm_table_3_mfu():
    """Model FLOPs per second over the chips' peak, from the published throughputs."""
    palm, gopher = (train_flops_per_token(configuration(name), 2048) for name in ("palm/540b", "gopher/280b"))
    assert mfu(238.3e3, palm, 6144 * 275e12) == pytest.approx(0.462, abs=1e-3)
    assert mfu(0.0152 * 3072 * 2048, gopher, 4096 * 123e12) == pytest.approx(0.325, abs=2e-3)


def test_a_table_that_only_looks_up_costs_nothing():
    tied = configuration("palm/tiny")
    untied = dataclasses.replace(tied, embeddings="untied")
    assert train_flops_per_token(untied, 512) == train_flops_per_token(tied, 512)


def test_retrieval_by_hand():
    """Every matrix of the encoder and of CCA times the tokens that pass it, and the products of attention."""
    c = configuration("retro/172m")
    d, e, inner, encoder_inner, f = 896, 896, 16 * 64, 16 * 64, 3584
    per_token = 2 * 128 / 64  # neighbour tokens for each decoder token
    matrices = per_token * 2 * (5 * e * encoder_inner + 2 * e * f)  # encoder: attention and feed-forward
    matrices += (
        per_token * 3 * e * encoder_inner + 2 * 2 * d * encoder_inner
    )  # its cross-attention: Q, O, R; K, V per neighbour
    matrices += 3 * (
        3 * d * inner + per_token * 2 * e * inner
    )  # CCA: Q, O, R on the token; K, V on neighbours
    attention = per_token * encoder_inner * (2 * 128 + 64) + 3 * inner * 2 * 128
    added = train_flops_per_token(c, 2048) - train_flops_per_token(c.decoder, 2048)
    assert added == pytest.approx(6 * matrices + 12 * attention, rel=1e-3)  # norm scales, u and v come on top


def test_retrieval_off_costs_what_the_dense_model_costs():
    c = configuration("retro/172m")
    assert train_flops_per_token(c, 2048, retrieval=False) == train_flops_per_token(c.decoder, 2048)


def traced(config, batch_size):
    """FLOPs of the matrix products of one traced gradient of the loss."""
    tokens = jnp.zeros((batch_size, LENGTH), jnp.int32)
    neighbours = None
    if config.retrieves:
        shape = (batch_size, LENGTH // config.chunk, config.num_neighbours, config.neighbour)
        neighbours = Neighbours(jnp.zeros(shape, jnp.int32), jnp.ones(shape, bool))
    one = {
        "tokens": tokens, "targets": tokens, "weights": jnp.ones(tokens.shape), "neighbours": neighbours,
    }  # fmt: skip
    loss = objective(build(config), family_of(config).name, "float32").loss
    return product_flops(jax.make_jaxpr(jax.grad(loss, has_aux=True))(parameter_shapes(config), one).jaxpr)


def never_counted(config):
    """By hand, per decoder token: the logits that the backward pass computes again and the position terms of
    relative attention; less the norms and biases that no product holds, which are counted.
    """
    decoder = config.decoder
    inner = decoder.num_heads * decoder.head_size
    square = decoder.num_layers * inner * LENGTH
    total = 2 * square + (8 * square if decoder.positions == "relative" else 0)

    def idle(operator):
        return sum(count(leaf) for path, leaf in flattened(operator) if path.endswith(("scale", "/u", "/v")))

    total -= 6 * idle(parameter_shapes(decoder))
    if config.retrieves:
        shapes = parameter_shapes(config)
        encoder = {name: shapes["encoder"][name] for name in shapes["encoder"] if name != "final_norm"}
        r, m = config.content_length, config.chunk
        passing, encoder_inner = (
            config.num_neighbours * r / m,
            config.encoder_num_heads * config.encoder_head_size,
        )
        total += 6 * passing * encoder_inner * config.encoder_layers * (2 * r - 1)
        total += 6 * passing * encoder_inner * (r + m - 1) * ("cross_attention" in encoder)
        total += 6 * inner * len(config.cca_layers) * (r + m - 1) * config.cca_positions
        total -= 6 * (passing * idle(encoder) + idle(shapes["cca"]))
    return total


def flattened(tree, prefix=""):
    for name, leaf in tree.items():
        if isinstance(leaf, dict):
            yield from flattened(leaf, f"{prefix}/{name}")
        else:
            yield f"{prefix}/{name}", leaf


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("config", [
    configuration("palm/smoke"), configuration("gopher/smoke"), configuration("retro/smoke"),
    dataclasses.replace(
        configuration("retro/smoke-copying"), cca_positions=False, encoder_conditioned=False, num_neighbours=3,
        neighbour_content="continuation",
    ),
])  # fmt: skip
def test_what_is_counted_is_what_the_traced_program_multiplies(config, batch_size):
    """To the last operation, once what is never counted is added; W_r's products with them, which do not
    grow with the batch.
    """
    counted = train_flops_per_token(config, LENGTH, batch_size=batch_size)
    expected = batch_size * LENGTH * (counted + never_counted(config))
    assert traced(config, batch_size) == pytest.approx(expected, rel=1e-12)


def test_the_papers_count_a_projection_of_distances_for_every_token():
    """What that makes of Gopher's figures, and what it does not."""
    gopher, palm = configuration("gopher/280b"), configuration("palm/540b")
    computed = train_flops_per_token(gopher, 2048, batch_size=1536)
    assert computed / train_flops_per_token(gopher, 2048) == pytest.approx(0.925, abs=1e-3)
    assert train_flops_per_token(palm, 2048, batch_size=1) == train_flops_per_token(palm, 2048)


def test_more_neighbours_cost_more():
    c = configuration("retro/tiny")
    assert train_flops_per_token(dataclasses.replace(c, num_neighbours=4), 512) > train_flops_per_token(
        c, 512
    )


def test_peak_is_a_rate():
    assert 1e8 < matrix_product_peak(size=256, repeats=2) < 1e16
