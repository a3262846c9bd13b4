"""JSON that is read with care: it may be cut short, edited by hand, or from somebody else.

A form says what is due: a type; `[form]`, a list of such; `{"field": form}`, a record that has these fields
and maybe others, with `"field?"` for one that may be missing; `{str: form}`, a record of any fields; a tuple
of forms, one of these (None among them); or a function that raises ValueError where a value is none.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storage.files import no_link, regular

WORDS: Mapping[Any, str] = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list",
    dict: "a record of fields", type(None): "null",
}  # fmt: skip
SHOWN = 60  # characters of a value that a message repeats


def read_json(path: Path, linked: bool = False) -> Any:
    """What a file of UTF-8 JSON holds. linked: be it by a link, where the user says which file is meant.

    Raises:
        OSError: it is missing, or no file. ValueError: it is not JSON.
    """
    try:
        return json.loads((regular if linked else no_link)(path).read_bytes())
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def check(value: Any, form: Any, field: str = "") -> None:
    """Raises ValueError where `value` is not of this form; the message names the field."""
    if isinstance(form, tuple):
        form = next((one for one in form if _is(value, _kind(one))), form)
    if not _is(value, _kind(form)):
        due = " or ".join(WORDS[_kind(one)] for one in (form if isinstance(form, tuple) else (form,)))
        raise ValueError(f"{field or 'all of it'} is {_shown(value)} where {due} is due")
    if isinstance(form, list):
        if form[0] in (str, int) and set(map(type, value)) <= {form[0]}:
            return  # at once: there may be millions
        for number, item in enumerate(value):
            check(item, form[0], f"{field}[{number}]")
    elif isinstance(form, Mapping):
        if str in form:
            form = dict.fromkeys((f"{name}?" for name in value), form[str])
        for name in form:
            known, here = name.removesuffix("?"), f"{field}." if field else ""
            if known in value:
                check(value[known], form[name], here + known)
            elif known == name:
                raise ValueError(f"{here}{name} is missing")
    elif callable(form) and not isinstance(form, type):
        try:
            form(value)
        except ValueError as error:
            raise ValueError(f"{field} is {_shown(value)}: {error}") from None


def _kind(form: Any) -> Any:
    """The type that a value of this form has; a tuple of types for a choice, None for a function."""
    if isinstance(form, tuple):
        return tuple(map(_kind, form))
    if isinstance(form, Mapping):
        return dict
    return list if isinstance(form, list) else type(None) if form is None else form


def _is(value: Any, kind: Any) -> bool:
    if isinstance(kind, tuple):
        return any(_is(value, one) for one in kind)
    if not isinstance(kind, type):
        return True
    if isinstance(value, bool):  # which Python takes for a number
        return kind is bool
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
