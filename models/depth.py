"""The layers of a decoder: operators that stand in all of them, and one that stands in some only, as RETRO's
chunked cross-attention does, and as experts would.
"""

import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import jax

from models.decoder import Beside, Cache, Carry, Params, Residual
from models.stack import (
    extended,
    in_spans,
    layer,
    layers_of,
    one_stack,
    rematerialised,
    scan_layers,
    step_layers,
)


class Inserted(NamedTuple):
    """An operator that stands in some layers only.

    name: of its parameters, leaves [len(layers), ...].
    layers: their numbers, counted from 1, rising.
    after: the residual operator that it stands behind.
    apply: (its parameters in one layer, carry, beside) -> carry.
    encode: (params, x [B, T, D], beside) -> what it reads in all its layers, made in the first of them and
    kept in the carry; None where it reads nothing of the kind.
    encode_reads: the names of the parameters that `encode` is given whole.
    """

    name: str
    layers: Sequence[int]
    after: str
    apply: Callable[[Params, Carry, Beside], Carry]
    encode: Callable[[Params, jax.Array, Beside], Any] | None = None
    encode_reads: Sequence[str] = ()

    def within(self, start: int, stop: int) -> tuple[int, int]:
        """Where in `layers` those begin and end that are among layers start … stop − 1, counted from 0."""
        first, last = (bisect.bisect_right(self.layers, bound) for bound in (start, stop))
        return first, last


@dataclass(frozen=True)
class Depth:
    """The layers of a decoder: `residuals` by the names of their parameters and in their order, num_layers
    times, and what is inserted into some.
    """

    residuals: Mapping[str, Residual]
    num_layers: int
    remat: str
    inserted: Inserted | None = None

    def plain(self, params: Params, x: jax.Array, start: int, stop: int) -> jax.Array:
        """x [B, T, D] after the layers start … stop − 1 as they are with nothing inserted."""
        stack = {name: params[name] for name in self.residuals}
        return scan_layers(lambda one, x: _applied(self.residuals, one, x), stack, x, start, stop, self.remat)

    def take(self, params: Params, start: int, stop: int) -> Params:
        """The parameters of layers start … stop − 1 alone, for `run`."""
        taken = self._stacks(params, start, stop)
        if self.inserted is None:
            return taken
        first, last = self.inserted.within(start, stop)
        taken[self.inserted.name] = layers_of(params[self.inserted.name], first, last)
        encodes = self.inserted.encode_reads if first == 0 and last > 0 else ()
        return taken | {name: params[name] for name in encodes}

    def run(self, taken: Params, carry: Carry, start: int, stop: int, beside: Beside = None) -> Carry:
        """The layers start … stop − 1, from what `take` gave. They run in spans: plain layers, and one with
        what is inserted. Spans of one size, such as the papers' every third layer, are compiled once.
        """
        inserted, done, index = self.inserted, 0, 0
        numbers = inserted.layers if inserted is not None else ()
        ends = [number - start for number in numbers if start < number <= stop]
        if ends and inserted.encode is not None and carry.encoded is None:
            plain = self._stacks(taken, 0, ends[0])
            first = {**taken, **plain, inserted.name: layer(taken[inserted.name], 0)}
            carry, done, index = self._span(first, carry, beside), ends[0], 1
        encoded = carry.encoded
        for size, spans in groupby(b - a for a, b in pairwise([done, *ends[index:]])):
            count = len(list(spans))
            spanned = in_spans(self._stacks(taken, done, done + count * size), count)
            stack = {**spanned, inserted.name: layers_of(taken[inserted.name], index, index + count)}

            # What was encoded is the same for all: the loop reads it, and carries the rest.
            def span(params, carry):
                return self._span(params, carry._replace(encoded=encoded), beside)._replace(encoded=None)

            carry = scan_layers(span, stack, carry._replace(encoded=None), 0, count, "none")
            done, index = done + count * size, index + count
        return carry._replace(x=self.plain(taken, carry.x, done, stop - start), encoded=encoded)

    def step(
        self, params: Params, past: Cache, x: jax.Array, position: jax.Array,
        insert: Callable[[int, jax.Array, Any], tuple[jax.Array, Any]] | None = None, state: Any = None,
    ) -> tuple[jax.Array, Cache, Any]:  # fmt: skip
        """The cached form of all layers: x [B, t, D], the cache `past` with these positions, and the state.

        insert: (index, x, state) -> (x, state): the cached form of what is inserted, in layers[index].
        """
        parts = []

        def read(residuals, x, start, stop):
            x, added = step_layers(residuals, params, past, x, position, start, stop)
            parts.append(added)
            return x

        done = 0
        for index, number in enumerate(self.inserted.layers if self.inserted else ()):
            before, after = self._halves()
            x = read(self.residuals, x, done, number - 1)
            x = read(before, x, number - 1, number)
            x, state = insert(index, x, state)
            x = read(after, x, number - 1, number)
            done = number
        x = read(self.residuals, x, done, self.num_layers)
        return x, extended(past, one_stack(parts), position), state

    def _halves(self) -> Sequence[Mapping[str, Residual]]:
        """The residuals up to the one that the inserted operator stands behind, and the others."""
        names = list(self.residuals)
        cut = names.index(self.inserted.after) + 1
        return [{name: self.residuals[name] for name in half} for half in (names[:cut], names[cut:])]

    def _stacks(self, taken: Params, start: int, stop: int) -> dict[str, Any]:
        return {name: layers_of(taken[name], start, stop) for name in self.residuals}

    def _span(self, params: Params, carry: Carry, beside: Beside) -> Carry:
        """Plain layers, and one with what is inserted that they end with."""
        size = jax.tree.leaves(params[next(iter(self.residuals))])[0].shape[0]
        carry = carry._replace(x=self.plain(params, carry.x, 0, size - 1))
        last = {name: layer(params[name], size - 1) for name in self.residuals}
        return rematerialised(self._layer, self.remat)({**params, **last}, carry, beside)

    def _layer(self, params: Params, carry: Carry, beside: Beside) -> Carry:
        """One layer with what is inserted."""
        inserted, (before, after) = self.inserted, self._halves()
        carry = carry._replace(x=_applied(before, params, carry.x))
        if inserted.encode is not None and carry.encoded is None:
            carry = carry._replace(encoded=inserted.encode(params, carry.x, beside))
        carry = inserted.apply(params[inserted.name], carry, beside)
        return carry._replace(x=_applied(after, params, carry.x))


def _applied(residuals: Mapping[str, Residual], params: Params, x: jax.Array) -> jax.Array:
    for name, residual in residuals.items():
        x = residual.whole.apply(params[name], x)
    return x
