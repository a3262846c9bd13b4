"""A configuration changed field by field, as a command line names them: `decoder.num_layers=6`."""

import dataclasses
import typing
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from errors import InputError

BOOLEANS = {"true": True, "false": False}


def with_fields(config: Any, assignments: Sequence[str]) -> Any:
    """`config` with every `field=value`; the fields of RETRO's decoder are `decoder.field`, and a dense model
    is its own decoder. A tuple's values are separated by commas: `cca_layers=3,6`.

    Raises:
        InputError: there is no such field, or the value is none of its type; the message names both.
    """
    changes: dict[str, dict[str, Any]] = {"": {}, "decoder.": {}}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"--set {assignment}: give FIELD=VALUE, such as decoder.num_layers=6.")
        part = "decoder." if name.startswith("decoder.") else ""
        record = config.decoder if part else config
        changes[part if config.retrieves else ""][name.removeprefix(part)] = _value(record, name, part, text)
    if decoder := changes["decoder."]:
        changes[""]["decoder"] = dataclasses.replace(config.decoder, **decoder)
    return dataclasses.replace(config, **changes[""])


def _value(record: Any, name: str, part: str, text: str) -> Any:
    types = typing.get_type_hints(type(record))
    known = [field.name for field in dataclasses.fields(record) if field.name != "decoder"]
    field = name.removeprefix(part)
    if field not in known:
        everywhere = [part + one for one in known]
        if record.retrieves:
            everywhere += [f"decoder.{one.name}" for one in dataclasses.fields(record.decoder)]
        near = get_close_matches(name, everywhere, n=3, cutoff=0.5) or everywhere
        raise InputError(
            f"--set {name}: {type(record).__name__} has no such field. There are {', '.join(near)}."
        )
    try:
        return _parsed(types[field], text)
    except ValueError as error:
        raise InputError(f"--set {name}={text}: {error}.") from None


def _parsed(form: Any, text: str) -> Any:
    if form is str:
        return text
    if form is bool:
        if text.lower() not in BOOLEANS:
            raise ValueError("give true or false")
        return BOOLEANS[text.lower()]
    if typing.get_origin(form) is tuple:
        return tuple(_parsed(int, one) for one in text.split(","))
    if type(None) in typing.get_args(form) and text.lower() == "none":
        return None
    try:
        value = int(text)
    except ValueError:
        raise ValueError("give a whole number") from None
    if not 0 < value < 2**31:
        raise ValueError("give a whole number of at least 1, below 2^31")
    return value
