"""Fields of a configuration from the command line."""

import dataclasses
import re

import pytest

from errors import InputError
from models.families import configuration
from models.fields import with_fields


def test_fields_of_retro_and_of_its_decoder():
    config = with_fields(
        configuration("retro/172m"),
        ["decoder.num_layers=6", "cca_layers=3,6", "encoder_conditioned=false", "evaluation_neighbours=10"],
    )
    assert config.decoder.num_layers == 6 and config.cca_layers == (3, 6)
    assert config.encoder_conditioned is False and config.k_evaluation == 10
    before = configuration("retro/172m")
    changed = {"cca_layers", "encoder_conditioned", "evaluation_neighbours", "decoder"}
    for name in {field.name for field in dataclasses.fields(before)} - changed:
        assert getattr(config, name) == getattr(before, name)


def test_a_dense_model_is_its_own_decoder():
    plain = with_fields(configuration("palm/8b"), ["block=serial", "d_ff=7"])
    assert plain == with_fields(configuration("palm/8b"), ["decoder.block=serial", "decoder.d_ff=7"])
    assert plain.block == "serial" and plain.d_ff == 7


@pytest.mark.parametrize(
    ("name", "assignment", "message"),
    [
        ("gopher/44m", "num_layer=6", "num_layer: GopherConfig has no such field. There are num_layers"),
        ("retro/172m", "num_layers=6", "RETROConfig has no such field. There are decoder.num_layers"),
        ("retro/172m", "decoder.chunk=6", "GopherConfig has no such field"),
        ("retro/172m", "decoder=6", "RETROConfig has no such field"),
        ("gopher/44m", "num_layers", "give FIELD=VALUE"),
        ("gopher/44m", "num_layers=six", "num_layers=six: give a whole number"),
        ("gopher/44m", "num_layers=0", "at least 1"),
        ("retro/172m", "encoder_conditioned=perhaps", "give true or false"),
        ("retro/172m", "cca_layers=3,x", "give a whole number"),
        ("retro/172m", "decoder.num_layers=4", "cca_layers"),
        ("palm/8b", "block=diagonal", "choose one of parallel, serial"),
    ],
)
def test_what_does_not_fit_is_named(name, assignment, message):
    with pytest.raises(InputError, match=re.escape(message)):
        with_fields(configuration(name), [assignment])
