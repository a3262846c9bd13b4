"""What a terminal is shown: progress as one line, redrawn, or now and then a line of its own in a log; and
text from anywhere, which must not be taken for a command to the terminal.
"""

import sys
import unicodedata
from typing import TextIO

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15
STEPS = "{desc} {percentage:3.0f}% step {n_fmt}/{total_fmt}{postfix}, {remaining} to go"

# What a terminal obeys, or cannot print: control characters, halves of surrogate pairs, ends of lines and
# paragraphs, and what turns the direction of the text after it.
CATEGORIES, DIRECTIONS = (
    {"Cc", "Cs", "Zl", "Zp"},
    {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"},
)


def printable(text: str, kept: str = "\n\t") -> str:
    """`text` with what a terminal would obey or could not print as escapes, `\\x1b`. kept: characters that
    stay; "" makes a line of any text.
    """
    return "".join(
        character.encode("unicode_escape").decode()
        if _is_command(character) and character not in kept
        else character
        for character in text
    )


def _is_command(character: str) -> bool:
    return unicodedata.category(character) in CATEGORIES or unicodedata.bidirectional(character) in DIRECTIONS


def bar(
    label: str, total: int, unit: str, done: int = 0, layout: str | None = None, shown: bool = True,
    stream: TextIO | None = None,
) -> tqdm:  # fmt: skip
    """A bar over `total` units, of which `done` are done, with the time to go; without a layout (tqdm's
    bar_format) one that work of less than two seconds does not show. stream: stderr by default.
    """
    stream = stream or sys.stderr
    on_terminal = stream.isatty()
    return tqdm(
        desc=printable(label, kept=""),
        total=total,
        unit=unit,
        initial=done,
        bar_format=layout,
        disable=not shown,
        file=stream if on_terminal else _Lines(stream),
        mininterval=0.2 if on_terminal else SECONDS_BETWEEN_LINES,
        miniters=1,
        delay=0 if layout else 2,
        dynamic_ncols=on_terminal,
        position=0,  # one that an error left open does not push this one down
    )


class Progress:
    """Training's and evaluation's line: loss, tokens/s, MFU and time to go. shown: of many processes, the
    leader alone shows it.
    """

    def __init__(
        self, label: str, steps: int, resumed_step: int = 0, shown: bool = True, stream: TextIO | None = None
    ):
        self._bar = bar(label, steps, "step", resumed_step, STEPS, shown, stream)

    def update(self, step: int, loss: float, tokens_per_second: float, mfu: float | None = None) -> None:
        """Shows the state after `step` updates; mfu is a fraction, None where the peak is not known."""
        text = f"loss {loss:.4f}, {tokens_per_second:,.0f} tokens/s"
        self._bar.set_postfix_str(text if mfu is None else f"{text}, MFU {mfu:.1%}", refresh=False)
        self.advance(step)

    def advance(self, step: int) -> None:
        """Shows that `step` units are done, without figures."""
        self._bar.update(step - self._bar.n)

    def close(self) -> None:
        self._bar.close()


class _Lines:
    """A log for tqdm to draw on: every drawing becomes a line of its own instead of overwriting the last."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> None:
        if text.strip():
            self._stream.write(text.strip() + "\n")

    def flush(self) -> None:
        self._stream.flush()
