"""The comparisons of a run are judged by what their file says, older ones by the seeds alone."""

import pytest

from judging.comparisons import drawn, with_verdicts


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"seeds": 3, "groups": 15}, "better"),
        ({"seeds": 2, "groups": 15}, "2 seeds"),
        ({"seeds": 1, "groups": 5}, "1 seed"),
        ({"seeds": 3, "groups": 14}, "14 groups"),
        ({"seeds": 3}, "better"),
    ],
)
def test_comparisons_of_a_run_need_seeds_and_groups(counts, expected):
    """Older files do not say how many groups there are."""
    entry = {"difference": -0.03, "excludes_zero": True, "over_seeds": None} | counts
    entry["over_groups" if "groups" in counts else "over_documents"] = [-0.04, -0.02]
    [found] = with_verdicts({"comparisons": [entry]})["comparisons"]
    assert found["verdict"] == expected and found["over_groups"] == [-0.04, -0.02]
    assert drawn({"comparisons": [entry]}) == ("groups" if "groups" in counts else "documents")
