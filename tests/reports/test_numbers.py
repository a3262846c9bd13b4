"""Every measured number in the prose of the pages is the one that the committed files give, and every other
number is one that no file has to give. What a new number needs: page_numbers/page.py.
"""

import pytest

from reports.words import signed
from tests.reports.page_numbers import benchmarks, docs, findings, readme, retrieval
from tests.reports.page_numbers.measured import ROOT, compared, difference, gain, gain_apart, reversed_sign
from tests.reports.page_numbers.page import (
    Page,
    Sentence,
    complaint,
    idle,
    not_called_scratch,
    places,
    unexplained,
)

PAGES = {
    page.path: page for page in (readme.PAGE, findings.PAGE, benchmarks.PAGE, retrieval.PAGE, *docs.PAGES)
}
SENTENCES = [
    pytest.param(page, sentence, id=f"{path}: {sentence.template[:40]}")
    for path, page in PAGES.items()
    for sentence in page.sentences
]
of_every_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


def text_of(page):
    return (ROOT / page.path).read_text(encoding="utf-8")


@pytest.mark.parametrize(("page", "sentence"), SENTENCES)
def test_a_sentence_says_what_its_file_says(page, sentence):
    wrong = complaint(page, sentence, text_of(page))
    assert not wrong, wrong


@of_every_page
def test_every_number_is_measured_or_said_not_to_be(page):
    numbers = unexplained(page, text_of(page))
    assert not numbers, (
        "Give a Sentence with the file that these come from, or a phrase of not_measured or without_a_file, in "
        "tests/reports/page_numbers:\n" + "\n".join(numbers)
    )


@of_every_page
def test_every_phrase_still_stands_in_its_page(page):
    assert idle(page, text_of(page)) == [], "no number of the page needs these: remove them"


@of_every_page
def test_what_has_no_file_is_called_scratch(page):
    assert not_called_scratch(page, text_of(page)) == []


@pytest.mark.parametrize(("page", "sentence"), SENTENCES)
def test_no_number_of_a_sentence_can_change(page, sentence):
    text = text_of(page)
    for start, end in places(sentence, text):
        digit = max(i for i in range(start, end) if text[i].isdigit())
        changed = text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :]
        assert complaint(page, sentence, changed), text[start:end]


INVENTED = """# Speed

It takes 1,234 steps and is ahead by −0.014
[−0.020, −0.008], 47 % of it on 2 GPUs (`--steps 99`).

    make speed ARGS=1

<!-- speed -->
| 17 |
<!-- end -->

## Tried

Scratch: 12 ms.
"""
AHEAD = Sentence(
    "It takes {:,} steps and is ahead by {:.3f} [{:.3f}, {:.3f}], {:.0f} %", lambda: [1234, -0.014, -0.02, -0.0081, 47], "a.json"
)  # fmt: skip
MADE = Page("made.md", (AHEAD,), ("on 2 GPUs",), {"12 ms": "by hand"})


def problems(text):
    found = [
        complaint(MADE, AHEAD, text),
        *unexplained(MADE, text),
        *idle(MADE, text),
        *not_called_scratch(MADE, text),
    ]
    return [problem for problem in found if problem]


def test_an_invented_page_is_right_and_every_mistake_in_it_is_found():
    assert problems(INVENTED) == []
    for right, wrong in (
        ("−0.014", "−0.015"), ("−0.014", "0.014"), ("−0.014", "-0.014"), ("−0.014", "−0.0144"), ("−0.008]", "−0.009]"),
        ("1,234", "1234"), ("47 %", "48 %"),
    ):  # fmt: skip
        (problem,) = problems(INVENTED.replace(right, wrong))
        assert "By a.json made.md should say" in problem and "−0.014 [−0.020, −0.008], 47 %" in problem
        assert wrong in problem.split("and it says")[1]
    assert "no such sentence" in problems(INVENTED.replace("ahead", "behind"))[0]
    (problem,) = problems(INVENTED.replace("12 ms.", "12 ms, then 13."))
    assert problem.startswith("made.md:14: 13 in “") and problem.endswith("12 ms, then 13.”")
    unknown, unneeded = problems(INVENTED.replace("2 GPUs", "3 GPUs"))
    assert unknown.startswith("made.md:4: 3 in “") and unneeded == "on 2 GPUs"
    assert problems(INVENTED.replace("on 2 GPUs", "on GPUs")) == ["on 2 GPUs"]
    assert problems(INVENTED.replace("Scratch: ", "")) == ["12 ms"]


def test_the_helpers_give_what_the_generated_pages_say():
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    shown = [
        difference("ablate-retro", "dense"),
        gain("ablate-retro", "copying"),
        gain_apart("ablate-retro", "copying"),
    ]
    for mean, low, high in shown:
        assert low < mean < high and signed(mean) in text
    assert reversed_sign((-2.0, -3.0, 1.0)) == (2.0, -1.0, 3.0)
    assert signed(compared("PaLM − Gopher")["difference"]) in text
