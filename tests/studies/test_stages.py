"""A stage knows whether it made anything."""

from studies.stages import Stages


def test_reuse_is_the_absence_of_new_files(tmp_path):
    stages = Stages(tmp_path)
    with stages.measured("make"):
        (tmp_path / "made").write_text("x")
    with stages.measured("find"):
        (tmp_path / "made").read_text()
    with stages.measured("look", may_reuse=False):
        pass
    assert [(row["stage"], row["reused"]) for row in stages.rows] == [
        ("make", False),
        ("find", True),
        ("look", False),
    ]
    assert all(row["seconds"] >= 0 for row in stages.rows)
