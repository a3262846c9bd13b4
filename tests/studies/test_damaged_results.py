"""A results file that does not fit together is refused, with what is wrong and the way out."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import InputError
from studies.results_file import read_results
from tests.reports.synthetic_results import two_rows


def written(tmp_path, made):
    (tmp_path / "results.json").write_text(json.dumps(made))
    return tmp_path / "results.json"


def test_a_whole_file_is_read_as_it_is(tmp_path):
    made = two_rows()
    assert read_results(written(tmp_path, made)) == made


BROKEN = {
    "older layout": lambda made: made.pop("layout"),
    "layout 2 where layout 1": lambda made: made.update(layout=2),
    "against 'publisht', which is no other row; there are published": lambda made: made["rows"][1].update(
        against="publisht"
    ),
    "row 'variant' is against 'variant'": lambda made: made["rows"][1].update(against="variant"),
    "nats of seed 2 of row 'variant' are 29 numbers for 30 documents": lambda made: made["rows"][1]["cells"][2][
        "nats"
    ].pop(),
    "nats_off of seed 0 of row 'published' are 31": lambda made: made["rows"][0]["cells"][0].update(nats_off=[1.0] * 31),
    "not all finite": lambda made: made["rows"][0]["cells"][0]["nats"].__setitem__(3, float("nan")),
    "is finished and has no nats": lambda made: made["rows"][0]["cells"][0].update(nats=None),
    "nats_off for some seeds": lambda made: made["rows"][0]["cells"][0].update(nats_off=[1.0] * 30),
    "has a seed twice": lambda made: made["rows"][0]["cells"][0].update(seed=1),
    "status 'lost'": lambda made: made["rows"][0]["cells"][0].update(status="lost"),
    "two rows are named 'published'": lambda made: made["rows"][1].update(name="published"),
    "corpus is missing": lambda made: made.pop("corpus"),
    "rows[1].note is missing": lambda made: made["rows"][1].pop("note"),
    "rows[1].cells[0].mfu is missing": lambda made: made["rows"][1]["cells"][0].pop("mfu"),
    "paper.expects 'faster'": lambda made: made["rows"][1].update(paper={"figure": "", "expects": "faster", "source": ""}),
    "null is of 'ours'": lambda made: made["null"].update(of="ours"),
    "null has seed 0 in common": lambda made: made["null"]["cells"][0].update(seed=0),
    "0 rows": lambda made: made["rows"].clear(),
    "row 'variant' is judged beyond 'nothing', which is no row": lambda made: made["rows"][1].update(
        interaction="nothing"
    ),
    "draw 1 of seed 0 of row 'variant' are 29": lambda made: made["rows"][1]["cells"][0].update(
        draws=[[1.0] * 30, [1.0] * 29]
    ),
    "more draws for some seeds": lambda made: made["rows"][1]["cells"][0].update(draws=[[1.0] * 30]),
    "config.vocab_size is 'many' where a whole number is due": lambda made: made["config"].update(vocab_size="many"),
    "command is 3 where text is due": lambda made: made.update(command=3),
    "rows[0].train_flops is 1000": lambda made: made["rows"][0].update(train_flops=10**400),
    "has 0 bytes": lambda made: made["documents"][0].update(bytes=0),
}  # fmt: skip


@pytest.mark.parametrize("complaint", BROKEN)
def test_what_does_not_fit_together_is_named_with_the_way_out(complaint, tmp_path):
    made = two_rows()
    BROKEN[complaint](made)
    path = written(tmp_path, made)
    with pytest.raises(InputError) as error:
        read_results(path)
    message = str(error.value)
    assert (
        complaint in message
        and str(path) in message
        and "Run `python -m experiments.ablate palm` again" in message
    )


@given(st.floats(0, 1, exclude_max=True))
@settings(max_examples=25)
def test_a_file_cut_short_anywhere_is_named(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("cut") / "results.json"
    whole = json.dumps(two_rows())
    path.write_text(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match="cut short or damaged.*again"):
        read_results(path)
    assert str(path)


def test_what_is_no_results_file_is_said(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_results(tmp_path / "results.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(InputError, match="holds no results"):
        read_results(tmp_path / "list.json")
