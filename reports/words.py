"""How a number and an interval are written, wherever they are shown."""

from collections.abc import Callable, Iterable
from typing import Any

from judging.intervals import Comparison


def count(value: float) -> str:
    """Three digits and a letter: 1376896 is 1.38M."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        # From 999.5 thousand on, three digits already read as a million.
        if value >= 0.9995 * unit:
            return f"{value / unit:#.3g}".rstrip(".") + letter
    return f"{value:g}"


def flops(value: float, decimals: int = 1) -> str:
    """`7.1e12`"""
    return f"{value:.{decimals}e}".replace("+", "")


def plural(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`: nouns that take an s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def capitalised(text: str) -> str:
    """With a capital, all else as it is."""
    return text[:1].upper() + text[1:]


def signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def bits(value: float | None) -> str:
    return figure(value, ".3f")


def figure(value: float | None, form: str) -> str:
    """`value` in a format of Python's, a dash where it was not measured."""
    return "–" if value is None else format(value, form)


def bounds(interval: Iterable[float] | None, number: Callable[[float], str] = bits) -> str:
    """`[1.950, 2.070]`, a dash where nothing could be resampled."""
    return "–" if interval is None else f"[{', '.join(map(number, interval))}]"


def difference(value: Comparison) -> str:
    """`−0.0274 bits per byte (seeds [−0.0476, −0.0073], groups [−0.0411, −0.0096], all […])`"""
    intervals = {"seeds": value.over_seeds, "groups": value.over_groups, "draws": value.over_draws}
    intervals["all"] = value.over_all
    known = ", ".join(f"{name} {bounds(ends, signed)}" for name, ends in intervals.items() if ends)
    return f"{signed(value.mean)} bits per byte" + (f" ({known})" if known else "")


def four_digits(value: Any) -> str:
    """Any field of a record for a table: a float to four digits, nothing for None."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
