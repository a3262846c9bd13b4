"""A page by hand and the numbers in its prose: those that a file gives, and those that no file has to give.

A page that is believed has to be right in every number, and numbers are copied into sentences by hand.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

NOT_PROSE = (  # what is generated has tests of its own; then code, and where links lead
    re.compile(r"<!-- [\w-]+(?:: [^\n]*)? -->\n.*?<!-- end -->", re.DOTALL),
    re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE),
    re.compile(r"(?<=\n\n) {4}\S[^\n]*(?:\n+ {4}[^\n]*)*"),
    re.compile(r"`(?:[^`\n]|\n(?!\n))+`"),
    re.compile(r"(?<=\])\([^)]*\)"),
    re.compile(r"https?://\S+"),
)
# Not the digits of a name: float32, IVF4096,PQ32, recall@2. Letters behind a number are passed over: 540B, 2x2x2.
NUMBER = re.compile(r"(?<![\w@])(?<!\w[.,])(\d+(?:[.,]\d+)*(?:e[−+-]?\d+)?)\w*")
# No part of a number beside it is left out, and no sign.
BEFORE, AFTER = r"(?<![\d−+])(?<!\d[.,])", r"(?!\d|[.,]\d)"
ANY = r"(\S*?\d[^\s|]*?)"


@dataclass(frozen=True)
class Sentence:
    """Of a page, with its numbers from a file.

    Attributes:
        template: as it stands in the page, where a line ends left aside. `{}` in the place of each number that
            was measured, with Python's format: `{:.3f}`, `{:,}`. Whole sentences, or enough of one that only
            this place is meant.
        values: computes the numbers, in their order.
        source: where from, for whom the test fails.
    """

    template: str
    values: Callable[[], Sequence[Any]]
    source: str


@dataclass(frozen=True)
class Page:
    """Every number in the prose of a page is of one of the three.

    Attributes:
        path: from the root of the repository.
        sentences: with what was measured, and is in a file.
        not_measured: phrases of the page with numbers of papers, settings, names and sections. As much of the
            sentence as leaves no doubt: a phrase counts wherever it stands.
        without_a_file: phrases with numbers that were measured and that no file has, and where they come from.
            The section of the page has to say that they are scratch.
    """

    path: str
    sentences: tuple[Sentence, ...] = ()
    not_measured: tuple[str, ...] = ()
    without_a_file: Mapping[str, str] = field(default_factory=dict)


def written(value: Any, form: str) -> str:
    """A number as pages write it."""
    text = format(value, form)
    return text if isinstance(value, str) else text.replace("-", "−")


def complaint(page: Page, sentence: Sentence, text: str) -> str | None:
    """What is wrong with this sentence in the page's `text`; None if nothing is."""
    if list(_matches(sentence, text)):
        return None
    says = [match.group() for match in _matches(sentence, text, exact=False)]
    there = "\n".join(says[:3]) or "no such sentence: put its new words into tests/reports/page_numbers"
    return f"By {sentence.source} {page.path} should say\n\n{_filled(sentence)}\n\nand it says\n\n{there}"


def places(sentence: Sentence, text: str) -> list[tuple[int, int]]:
    """Where its numbers stand in a page's text, right or wrong: one that is wrong fails by itself."""
    matches = list(_matches(sentence, text)) or _matches(sentence, text, exact=False)
    return [match.span(group) for match in matches for group in range(1, match.re.groups + 1)]


def unexplained(page: Page, text: str) -> list[str]:
    """The numbers of the page's prose that are in no sentence's places and in no phrase."""
    given = _given(page, text)
    known = given + [match.span() for phrase in _phrases(page) for match in _standing(phrase, text)]
    return [
        f"{page.path}:{_line(number, text)}: {number.group()} in “{_around(number, text)}”"
        for number in _numbers(text)
        if not _inside(number, known)
    ]


def idle(page: Page, text: str) -> list[str]:
    """The phrases that explain no number of the page's prose, or only some that a sentence gives."""
    given = _given(page, text)
    numbers = [number for number in _numbers(text) if not _inside(number, given)]
    spans = {phrase: [match.span() for match in _standing(phrase, text)] for phrase in _phrases(page)}
    return [phrase for phrase in spans if not any(_inside(number, spans[phrase]) for number in numbers)]


def not_called_scratch(page: Page, text: str) -> list[str]:
    """The phrases without a file in sections that do not say so."""
    heads = [0, *(head.start() for head in re.finditer(r"^#+ ", text, re.MULTILINE)), len(text)]
    sections = [text[start:end] for start, end in zip(heads, heads[1:])]
    silent = [section for section in sections if "scratch" not in section.lower()]
    return [phrase for phrase in page.without_a_file if any(list(_standing(phrase, text)) for text in silent)]


def _phrases(page: Page) -> list[str]:
    return [*page.not_measured, *page.without_a_file]


def _parts(sentence: Sentence) -> Iterator[tuple[str, str | None]]:
    """What stands before each number, and the number; None after the last."""
    values = iter(sentence.values())
    for literal, name, form, _ in Formatter().parse(sentence.template):
        yield literal, None if name is None else written(next(values), form)
    assert not list(values), f"more values than places: {sentence.template}"


def _filled(sentence: Sentence) -> str:
    return "".join(literal + (number or "") for literal, number in _parts(sentence))


def _matches(sentence: Sentence, text: str, exact: bool = True) -> Iterator[re.Match]:
    """A group of each match is a number. exact: as the file has it; otherwise any."""
    pattern = ""
    for literal, number in _parts(sentence):
        pattern += _anywhere(literal)
        if number is not None:
            pattern += f"{BEFORE}({_anywhere(number)}){AFTER}" if exact else ANY
    return re.finditer(pattern, text)


def _standing(phrase: str, text: str) -> Iterator[re.Match]:
    return re.finditer(_anywhere(phrase), text)


def _anywhere(text: str) -> str:
    """A pattern of `text` wherever lines end in it."""
    return r"\s+".join(map(re.escape, re.split(r"\s+", text)))


def _given(page: Page, text: str) -> list[tuple[int, int]]:
    return [place for sentence in page.sentences for place in places(sentence, text)]


def _numbers(text: str) -> list[re.Match]:
    for pattern in NOT_PROSE:
        text = pattern.sub(lambda match: re.sub(r"\S", " ", match.group()), text)
    return list(NUMBER.finditer(text))


def _inside(number: re.Match, spans: Sequence[tuple[int, int]]) -> bool:
    return any(start <= number.start(1) and number.end(1) <= end for start, end in spans)


def _line(number: re.Match, text: str) -> int:
    return text.count("\n", 0, number.start()) + 1


def _around(number: re.Match, text: str) -> str:
    return " ".join(text[max(0, number.start() - 50) : number.end() + 30].split())
