"""What JSON is of another form than is due is named by its field."""

import pytest

from storage.json_files import check


def even(value):
    if value % 2:
        raise ValueError("an even number is due")


FORM = {
    "name": str, "count": int, "share": float, "held": bool, "names": [str], "spec": (None, {"size": int}),
    "hashes": {str: str}, "even": even, "either": (int, str), "points": [[float]], "open": {}, "maybe?": int,
}  # fmt: skip
GOOD = {
    "name": "a", "count": 1, "share": 0.5, "held": True, "names": ["a"], "spec": {"size": 1}, "hashes": {"a": "b"},
    "even": 2, "either": "a", "points": [[1, 0.5], []], "open": {"a": 1}, "unknown": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [{}, {"spec": None}, {"share": 1}, {"either": 3}, {"names": []}, {"hashes": {"a?": ""}}, {"maybe": 1}],
)
def test_what_is_of_the_form(change):
    check(GOOD | change, FORM)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1}, "name is 1 where text is due"),
        ({"count": True}, "count is True where a whole number is due"),
        ({"count": 0.5}, "count is 0.5 where a whole number is due"),
        ({"share": "x" * 99}, "share is '" + "x" * 59 + "… where a number is due"),
        ({"held": 1}, "held is 1 where true or false is due"),
        ({"names": ["a", None]}, r"names\[1\] is None where text is due"),
        ({"names": "ab"}, "names is 'ab' where a list is due"),
        ({"spec": {}}, "spec.size is missing"),
        ({"spec": {"size": []}}, r"spec.size is \[\] where a whole number is due"),
        ({"spec": 1}, "spec is 1 where null or a record of fields is due"),
        ({"hashes": {"a": 1}}, "hashes.a is 1 where text is due"),
        ({"even": 3}, "even is 3: an even number is due"),
        ({"either": None}, "either is None where a whole number or text is due"),
        ({"points": [[1], [None]]}, r"points\[1\]\[0\] is None where a number is due"),
        ({"maybe": "x"}, "maybe is 'x' where a whole number is due"),
        ({"hashes": {"a?": 1}}, r"hashes.a\? is 1 where text is due"),
        ({"open": []}, r"open is \[\] where a record of fields is due"),
    ],
)
def test_what_is_not_is_named_by_its_field(change, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        check(GOOD | change, FORM)


def test_missing_fields_and_what_is_no_record():
    with pytest.raises(ValueError, match="^names is missing$"):
        check({name: value for name, value in GOOD.items() if name != "names"}, FORM)
    with pytest.raises(ValueError, match=r"^all of it is \[\] where a record of fields is due$"):
        check([], FORM)
