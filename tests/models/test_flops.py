"""The accountant against the papers' own figures, and RETRO's additions against a count by hand."""

import dataclasses

import pytest

from models.families import configuration
from models.flops import mfu, train_flops_per_token
from studies.environment import matrix_product_peak


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


def test_more_neighbours_cost_more():
    c = configuration("retro/tiny")
    assert train_flops_per_token(dataclasses.replace(c, num_neighbours=4), 512) > train_flops_per_token(
        c, 512
    )


def test_peak_is_a_rate():
    assert 1e8 < matrix_product_peak(size=256, repeats=2) < 1e16
