"""Loss spikes: gone back before, and the batches around them left out (PaLM, section 5.1).

PaLM's 540B spiked about 20 times; training was started again from a checkpoint roughly 100 steps before the
spike, and roughly 200 to 500 batches were left out, which mended it. What is left out is written beside the
run's checkpoints, so that a run that went back, and one that was told to leave out the same batches, make
the same updates.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from errors import InputError
from storage.json_files import check
from storage.sealed import read_sealed, write_sealed

FILE_NAME = "skipped.json"
WINDOW = 100  # steps before, of which a spike is told
LEAST = 10  # of them, before which nothing is called a spike
MOST = 50  # spikes of a run: PaLM had 20, and one that never mends is to end
Range = tuple[int, int]  # batches start … stop − 1


@dataclass(frozen=True)
class SpikeRule:
    """What is a spike, and what follows.

    rise: how far, in nats, a step's loss lies above the median of the last WINDOW. norm: how many times their
    median gradient norm a step's is. None: not looked at. back: to the newest checkpoint at least so many
    steps before. skip: batches that are left out after the spike's own.
    """

    rise: float | None = None
    norm: float | None = None
    back: int = 100
    skip: int = 200

    def says(self, line: dict[str, Any], before: Sequence[dict[str, Any]]) -> bool:
        """Whether a step of this line of metrics is a spike after those lines."""
        if len(before) < LEAST:
            return False
        last = before[-WINDOW:]
        loss, norm = (median(one[name] for one in last) for name in ("loss", "grad_norm"))
        too_high = self.rise is not None and line["loss"] > loss + self.rise
        return too_high or (self.norm is not None and line["grad_norm"] > self.norm * norm)


def batch_number(update: int, skipped: Iterable[Range]) -> int:
    """Which batch the update after `update` others is made of, where those of `skipped` are left out."""
    number = update
    for start, stop in sorted(skipped):
        if number >= start:
            number += stop - start
    return number


@dataclass(frozen=True)
class Skipped:
    """What the run in a folder leaves out. ranges: of batches. spikes: what it went back before, each with
    step, loss, grad_norm, back_to and batches.
    """

    ranges: tuple[Range, ...] = ()
    spikes: tuple[Mapping[str, Any], ...] = ()

    def batch_number(self, update: int) -> int:
        """See the function of that name."""
        return batch_number(update, self.ranges)


def read_skipped(folder: Path) -> Skipped:
    """Nothing before the first spike.

    Raises:
        InputError: the file is damaged: without it the run would make other updates.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return Skipped()
    try:
        content = read_sealed(path)
        check(content, {"ranges": [[int]], "spikes": [{}]})
        return Skipped(tuple((start, stop) for start, stop in content["ranges"]), tuple(content["spikes"]))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}, the batches that this run leaves out, is damaged ({error}). Restore it, or remove the "
            f"folder {folder} to train anew."
        ) from error


def write_skipped(folder: Path, skipped: Skipped) -> None:
    """Whole or not at all; the ranges in order."""
    folder.mkdir(parents=True, exist_ok=True)
    ranges = [list(one) for one in merged(skipped.ranges)]
    write_sealed(folder / FILE_NAME, {"ranges": ranges, "spikes": list(skipped.spikes)})


def merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The same batches as ranges in order that do not touch.

    Raises:
        InputError: a range is empty, or begins before the first batch.
    """
    found: list[Range] = []
    for start, stop in sorted(ranges):
        if not 0 <= start < stop:
            raise InputError(
                f"The batches {start}:{stop} cannot be left out: give START:STOP, rising from 0."
            )
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(stop, found[-1][1])
        else:
            found.append((start, stop))
    return tuple(found)
