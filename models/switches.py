"""What configurations share: the check of their switches, and what a dense one answers about retrieval."""

from collections.abc import Collection
from typing import Self

from errors import InputError


class Dense:
    """What a configuration without retrieval answers where RETROConfig says more. decoder: the dense part,
    itself. retrieves: whether neighbours are read. num_neighbours, k_evaluation: k in training, and after it.

    Three fields mean the same in every dense configuration, but stand in each, in the order of saved ones.
    max_length: tokens of a training sequence; bounds learned positions and relative distances.
    remat: what the backward pass recomputes, a name in models.decoder.REMATERIALISATION.
    vocab_multiple: the embedding's rows are padded to a multiple of this, for a mesh that does not divide
    vocab_size.
    """

    # Without annotations these are no fields, so they are neither saved nor hashed.
    retrieves, num_neighbours, k_evaluation = False, 0, 0

    @property
    def decoder(self) -> Self:
        return self


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
