"""A folder is claimed once; another configuration is told the field that differs."""

import pytest

from errors import InputError
from studies.run_folder import claim, require_free

CONFIG = {"steps": 3, "model": {"d_model": 8, "layers": (2, 4)}}


def test_the_same_configuration_may_come_again(tmp_path):
    claim(tmp_path / "run", CONFIG)
    claim(tmp_path / "run", CONFIG)


@pytest.mark.parametrize(
    "other, message",
    [
        ({**CONFIG, "steps": 4}, "steps is 3 there and 4 here"),
        ({**CONFIG, "model": {"d_model": 9, "layers": (2, 4)}}, r"model\.d_model is 8 there and 9 here"),
        ({**CONFIG, "seed": 1}, "seed is absent there and 1 here"),
    ],
)
def test_another_configuration_is_refused_by_field(tmp_path, other, message):
    claim(tmp_path, CONFIG)
    with pytest.raises(InputError, match=message + r"\. Give another folder with --out"):
        claim(tmp_path, other)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"steps": ')
    with pytest.raises(InputError, match=r"config\.json is damaged"):
        claim(tmp_path, CONFIG)


def test_asking_whether_a_folder_is_free_leaves_it_free(tmp_path):
    require_free(tmp_path / "run", CONFIG)
    assert not (tmp_path / "run").exists()
    claim(tmp_path / "run", CONFIG)
    require_free(tmp_path / "run", CONFIG)
    with pytest.raises(InputError, match="steps is 3 there and 5 here"):
        require_free(tmp_path / "run", {**CONFIG, "steps": 5})
