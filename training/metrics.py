"""What a run says while it trains: lines of JSON, TensorBoard events, and one line of progress.

`metrics.jsonl` has one object per line, each with its `step` (the updates made so far). A run that resumes
from a checkpoint cuts away the lines written after it, so the file reads as if the run had never been
interrupted.
"""

import json
import sys
from pathlib import Path
from typing import Any, TextIO

from tensorboardX import SummaryWriter
from tqdm import tqdm

from errors import InputError
from processes.start import is_leader
from storage.files import write_atomic

FILE_NAME = "metrics.jsonl"
SECONDS_BETWEEN_LINES = 10


class MetricsWriter:
    """Appends to `folder/metrics.jsonl` and to TensorBoard events beside it, after `resumed_step` updates.
    Only the leader of many processes may have one.
    """

    def __init__(self, folder: str | Path, resumed_step: int = 0):
        path = Path(folder) / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            kept = [line for line in read_metrics(folder) if line["step"] <= resumed_step]
            write_atomic(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._lines = open(path, "a", encoding="utf-8")
        # TensorBoard hides what it was shown from the purge step on. Files are named by the second: the
        # suffix keeps a quick resumption from overwriting its predecessor.
        self._events = SummaryWriter(
            str(folder), purge_step=resumed_step + 1, filename_suffix=f".from-{resumed_step}"
        )

    def write(self, step: int, **values: Any) -> None:
        """Appends a line, which killing the process no longer loses; numbers go to TensorBoard too."""
        self._lines.write(json.dumps({"step": step} | values) + "\n")
        self._lines.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        self._lines.close()
        self._events.close()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of a run. A last line that a kill left half-written is dropped.

    Raises:
        InputError: a line before the last is not a JSON object with a step.
    """
    path = Path(folder) / FILE_NAME
    *complete, _unfinished = path.read_text(encoding="utf-8").split("\n")
    return [_parsed(path, number, line) for number, line in enumerate(complete, start=1)]


def _parsed(path, number, line):
    try:
        values = json.loads(line)
    except json.JSONDecodeError:
        values = None
    if not isinstance(values, dict) or not isinstance(values.get("step"), int):
        raise InputError(
            f"{path}, line {number}, is not a line of metrics: {line[:60]!r}. "
            "Delete that line; the run resumes without it."
        )
    return values


class Progress:
    """One line with loss, tokens/s, MFU and time to go: redrawn on a terminal, added at times to a log. Of
    many processes the leader alone shows it.
    """

    def __init__(self, label: str, steps: int, resumed_step: int = 0, stream: TextIO = sys.stderr):
        on_terminal = stream.isatty()
        self._bar = tqdm(
            desc=label,
            total=steps,
            initial=resumed_step,
            disable=not is_leader(),
            file=stream if on_terminal else _Lines(stream),
            mininterval=0.2 if on_terminal else SECONDS_BETWEEN_LINES,
            miniters=1,
            bar_format="{desc} {percentage:3.0f}% step {n_fmt}/{total_fmt}{postfix}, {remaining} to go",
        )

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

    def __init__(self, stream):
        self._stream = stream

    def write(self, text):
        if text.strip():
            self._stream.write(text.strip() + "\n")

    def flush(self):
        self._stream.flush()
