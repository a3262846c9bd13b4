"""The tables of sizes agree with the papers to the digits that they print."""

import json

import pytest

from experiments.sizes import Options, ladder_rows, size_rows, sizes, system_rows
from models.families import configuration
from models.ladder import RUNGS


@pytest.fixture(scope="module")
def rows():
    return {f"{row['family']}/{row['size']}": row for row in size_rows()}


def test_every_published_size_is_there(rows):
    families = [name.split("/")[0] for name in rows]
    assert {f: families.count(f) for f in families} == {"palm": 3, "gopher": 6, "retro": 4, "dense": 4}


def test_counts_agree_with_the_papers(rows):
    """To half a percent, or to half of the last digit of a name such as 1.4B."""
    rounding = {"gopher/44m": 0.5e6, "gopher/1.4b": 0.05e9, "gopher/7.1b": 0.05e9, "gopher/280b": 0.5e9}
    for name, row in rows.items():
        tolerance = rounding.get(name, 0.005 * row["published"])
        assert row["parameters"] == pytest.approx(row["published"], abs=tolerance), name


def test_only_relative_positions_are_counted_otherwise_than_they_are_computed(rows):
    for name, row in rows.items():
        saved = 1 - row["flops_as_computed"] / row["flops_per_token"]
        assert saved == 0 if name.startswith("palm") else 0.03 < saved < 0.1, name


def test_systems_agree_with_palms_tables():
    for row in system_rows():
        digit = 0.1 if row["published"] > 20 else 0.005 * row["published"]
        assert row["ours"] == pytest.approx(row["published"], abs=digit), row["figure"]


def test_the_families_of_a_rung_have_the_same_parameters_and_its_name_says_how_many():
    rows = {(row["family"], row["size"]): row for row in ladder_rows()}
    for size in RUNGS:
        gopher = rows["gopher", size]["parameters"]
        assert rows["palm", size]["parameters"] == pytest.approx(gopher, rel=0.03)
        assert gopher == pytest.approx(1e6 * float(size.removesuffix("m")), rel=0.03)


def test_retro_is_the_dense_gopher_of_its_rung_and_what_retrieval_adds():
    for size in RUNGS:
        config = configuration(f"retro/{size}")
        assert config.decoder == configuration(f"gopher/{size}")
        assert config.cca_layers == tuple(range(6, config.decoder.num_layers + 1, 3))
        # The published 896 where the decoder is as wide, as wide as the decoder below.
        assert config.encoder_d_model == min(896, config.decoder.d_model)


def test_command_writes_results(tmp_path, capsys):
    sizes(Options(out=tmp_path))
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results["rows"]) == 17
    printed = capsys.readouterr().out
    assert "540,3" in printed and "retro/40m" in printed
