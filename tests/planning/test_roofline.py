"""The time of a step by arithmetic: limits that are known by hand."""

import pytest

from planning.roofline import Work, backward_share, predict, unhidden
from planning.topologies import CHIPS

V4 = CHIPS["v4"]
BANDWIDTH = {"model": 100.0, "data": 200.0, "pod": 10.0}


def test_products_alone_reach_the_efficiency_of_products():
    work = Work(V4.peak_flops, 0.0, 0.0, {})
    predicted = predict(work, V4, BANDWIDTH, efficiency=0.8)
    assert predicted.step == pytest.approx(1 / 0.8) and predicted.mfu == predicted.hfu == pytest.approx(0.8)


def test_recomputation_counts_for_the_hardware_and_not_for_the_model():
    predicted = predict(Work(3.0, 1.0, 0.0, {}), V4, BANDWIDTH)
    assert predicted.mfu / predicted.hfu == pytest.approx(3 / 4)


def test_what_is_waited_for_adds_up():
    work = Work(0.0, V4.peak_flops, V4.hbm_bandwidth, {"model": 100.0, "data": 200.0})
    predicted = predict(work, V4, BANDWIDTH, efficiency=1.0)
    assert predicted.step == pytest.approx(4.0) and predicted.transfers == {"model": 1.0, "data": 1.0}


def test_an_exchange_hides_behind_the_backward_pass_but_for_its_end():
    work = Work(V4.peak_flops, 0.0, 0.0, {}, exchanged=5.0, exchanged_last=1.0)
    predicted = predict(work, V4, BANDWIDTH, efficiency=1.0)
    assert predicted.exchange == 0.5 and predicted.exposed == pytest.approx(0.1)
    assert predicted.exchange_hidden == pytest.approx(0.8)


def test_an_exchange_longer_than_the_backward_pass_is_waited_for():
    work = Work(V4.peak_flops, 0.0, 0.0, {}, exchanged=10.0)
    predicted = predict(work, V4, BANDWIDTH, efficiency=1.0)
    assert predicted.exposed == pytest.approx(1 - backward_share(work)) == pytest.approx(1 / 3)
    assert unhidden(1.0, 2.0) == 0.0


def test_the_cores_of_a_chip_share_it():
    v3 = CHIPS["v3"]
    work = Work(v3.peak_flops / 2, 0.0, v3.hbm_bandwidth / 2, {})
    assert predict(work, v3, BANDWIDTH, efficiency=1.0).step == pytest.approx(2.0)
