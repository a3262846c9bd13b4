"""The check that a configuration names only what exists."""

from collections.abc import Collection

from errors import InputError


def require_known(config: object, **choices: Collection[str]) -> None:
    """Raises InputError, naming field, value and choices, unless each named field of `config` is one of its
    choices.
    """
    for field, known in choices.items():
        value = getattr(config, field)
        if value not in known:
            raise InputError(
                f"{type(config).__name__} has no {field} {value!r}; choose one of {', '.join(known)}."
            )
