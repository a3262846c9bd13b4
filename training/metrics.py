"""What a run says while it trains: lines of JSON, and TensorBoard events.

`metrics.jsonl` has one object per line, each with its `step` (the updates made so far). A run that resumes
from a checkpoint cuts away the lines written after it, so the file reads as if the run had never been
interrupted.
"""

import json
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from errors import InputError
from storage.files import no_link, not_through_a_link, write_atomic
from storage.sealed import opened, sealed

FILE_NAME = "metrics.jsonl"


class MetricsWriter:
    """Appends to `folder/metrics.jsonl` and to TensorBoard events beside it, after `resumed_step` updates.
    Only the leader of many processes may have one.
    """

    def __init__(self, folder: str | Path, resumed_step: int = 0):
        path = Path(folder) / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            kept = [line for line in read_metrics(folder) if line["step"] <= resumed_step]
            write_atomic(path, "".join(json.dumps(sealed(line)) + "\n" for line in kept))
        self._lines = open(path, "a", encoding="utf-8", opener=not_through_a_link)
        # TensorBoard hides what it was shown from the purge step on. Files are named by the second: the
        # suffix keeps a quick resumption from overwriting its predecessor.
        self._events = SummaryWriter(
            str(folder), purge_step=resumed_step + 1, filename_suffix=f".from-{resumed_step}"
        )

    def write(self, step: int, **values: Any) -> None:
        """Appends a line, which killing the process no longer loses; numbers go to TensorBoard too."""
        self._lines.write(json.dumps(sealed({"step": step} | values)) + "\n")
        self._lines.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        self._lines.close()
        self._events.close()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of a run. A last line that a kill left half-written is dropped.

    Raises:
        InputError: the file is missing or is no text, or a line before the last is not a JSON object with a
            step, or not the one that was written.
    """
    path = Path(folder) / FILE_NAME
    try:
        *complete, _unfinished = no_link(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}, where the run wrote its losses, cannot be read ({error}). Put it back, or remove the "
            f"folder {folder} and run the command again to train anew."
        ) from error
    return [_parsed(path, number, line) for number, line in enumerate(complete, start=1)]


def _parsed(path, number, line):
    try:
        values = opened(json.loads(line))
    except ValueError:
        values = {}
    if not isinstance(values.get("step"), int):
        raise InputError(
            f"{path}, line {number}, is not a line of metrics: {line[:60]!r}. "
            "Delete that line; the run resumes without it."
        )
    return values
