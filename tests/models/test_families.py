"""Every published size has the papers' number of parameters, read off shapes."""

import dataclasses

import pytest

from errors import InputError
from models.families import (
    FAMILIES,
    build,
    configuration,
    count,
    family_of,
    parameter_shapes,
    with_decoder_fields,
)


@pytest.mark.parametrize(
    "name, millions",
    [
        ("palm/8b", 8_632), ("palm/62b", 62_495), ("palm/540b", 540_354),
        ("gopher/44m", 43.6), ("gopher/117m", 116.6), ("gopher/417m", 417.2),
        ("gopher/1.4b", 1374.2), ("gopher/7.1b", 7110.4), ("gopher/280b", 279_700),
    ],
)  # fmt: skip
def test_published_size(name, millions):
    # The papers' figures leave out norm scales and the position biases u and v: about a thousandth.
    assert count(parameter_shapes(configuration(name))) == pytest.approx(millions * 1e6, rel=1.5e-3)


@pytest.mark.parametrize(
    "size, dense, retro",
    [("172m", 132.1, 172.5), ("425m", 368.1, 425.5), ("1.5b", 1308.6, 1451.4), ("7.5b", 6979.3, 7531.5)],
)
def test_published_retro_size_without_embeddings(size, dense, retro):
    shapes = parameter_shapes(configuration(f"retro/{size}"))
    decoder = count([shapes["attention"], shapes["feed_forward"]])
    encoder = count({name: part for name, part in shapes["encoder"].items() if name != "embedding"})
    assert decoder == pytest.approx(dense * 1e6, rel=1.5e-3)
    assert decoder + encoder + count(shapes["cca"]) == pytest.approx(retro * 1e6, rel=1.5e-3)


def test_cca_layers_are_every_third_from_the_sixth():
    assert configuration("retro/172m").cca_layers == (6, 9, 12)
    assert len(configuration("retro/1.5b").cca_layers) == 7
    assert len(configuration("retro/7.5b").cca_layers) == 9


def test_models_that_are_compared_are_of_one_size():
    palm, gopher = (count(parameter_shapes(configuration(f"{family}/tiny"))) for family in ("palm", "gopher"))
    assert palm == pytest.approx(gopher, rel=0.05)
    assert configuration("retro/tiny").decoder == configuration("gopher/tiny")


def test_unknown_name_lists_the_known():
    with pytest.raises(InputError, match="palm/8b"):
        configuration("palm/9b")


@pytest.mark.parametrize(("wrong", "near"), [("gopher/44M", "gopher/44m"), ("retro/40", "retro/40m")])
def test_unknown_name_suggests_the_nearest(wrong, near):
    with pytest.raises(InputError, match=f"choose one of .*{near}"):
        configuration(wrong)


def test_unknown_field_raises():
    with pytest.raises(TypeError, match="layers"):
        type(configuration("palm/tiny"))(layers=4)


NAMES = [f"{family.name}/{size}" for family in FAMILIES.values() for size in family.sizes]


@pytest.mark.parametrize("name", NAMES)
def test_every_size_says_what_it_reads_and_builds(name):
    config = configuration(name)
    retrieves = name.startswith("retro/")
    assert config.retrieves == retrieves and (config.decoder is not config) == retrieves
    assert config.k_evaluation == config.num_neighbours == (2 if retrieves else 0)
    table = parameter_shapes(config)["embedding"]["embedding"]["table"]
    assert table.shape == (config.vocab_size, config.decoder.d_model)
    assert not {"retrieves", "k_evaluation"} & dataclasses.asdict(config).keys()


@pytest.mark.parametrize("given, k", [(None, 2), (5, 5)])
def test_neighbours_at_evaluation_are_those_of_training_where_none_are_given(given, k):
    config = dataclasses.replace(configuration("retro/tiny"), evaluation_neighbours=given)
    assert config.k_evaluation == config.most_neighbours == k


@pytest.mark.parametrize("size", ["172m", "tiny", "smoke"])
def test_a_copying_size_is_saved_as_the_published_one_with_two_switches(size):
    fields = dataclasses.asdict(configuration(f"retro/{size}"))
    fields |= {"cca_initialisation": "copying", "encoder_embedding": "shared"}
    saved = dataclasses.asdict(configuration(f"retro/{size}-copying"))
    assert saved == fields and [*saved] == [*fields]


def test_published_vocabularies():
    assert [FAMILIES[name].vocab_size for name in ("palm", "gopher", "retro")] == [256_000, 32_000, 128_000]


@pytest.mark.parametrize("family", FAMILIES)
def test_vocabulary_is_exchangeable(family):
    config = with_decoder_fields(configuration(f"{family}/smoke"), vocab_size=320)
    assert family_of(config).name == family
    assert build(config).config.vocab_size == 320
    assert parameter_shapes(config)["embedding"]["embedding"]["table"].shape[0] == 320
