"""The published figures come out of the arithmetic, and measured ones scale with the number of chunks."""

import pytest

from retrieval.database.costs import arithmetic, byte_rows, folder_bytes, published_rows, second_rows


def test_the_published_database_is_93_terabytes_and_codes_are_a_fraction():
    terabytes = {row["kept"]: row["TB"] for row in published_rows()}
    assert terabytes["as published: float32 keys, int32 tokens"] == pytest.approx(93.2, abs=0.05)
    for size, expected in ((8, 0.45), (32, 1.12), (64, 2.02)):
        assert terabytes[f"codes of {size} bytes and ids"] == pytest.approx(expected, abs=0.01)
    for row in published_rows():
        assert row["TB"] == pytest.approx(28e9 * row["bytes per chunk"] / 1e12)
        assert f"({row['arithmetic'].split('(')[1].split(')')[0]})" in row["arithmetic"]


def test_arithmetic_is_the_sum_of_the_products():
    assert arithmetic("768 · 4 + 64 · 4") == 3328 and arithmetic("8 + 8") == 16


def test_measured_bytes_and_seconds_are_scaled_and_summed(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/a").write_bytes(b"1" * 100)
    (tmp_path / "b").write_bytes(b"1" * 28)
    rows = byte_rows({"keys": folder_bytes([tmp_path]), "tokens": 64}, chunks=2)
    assert [(row["part"], row["bytes per chunk"]) for row in rows] == [
        ("keys", 64), ("tokens", 32), ("all", 96),
    ]  # fmt: skip
    assert rows[-1]["TB for 28e9 chunks"] == pytest.approx(28e9 * 96 / 1e12)
    stages = second_rows({"make keys": 0.01, "search": 0.002})
    assert [row["seconds per million chunks"] for row in stages] == pytest.approx([10_000, 2000, 12_000])
    assert stages[0]["days for 28e9 chunks"] == pytest.approx(28e9 * 0.01 / 86_400)
