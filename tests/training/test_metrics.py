"""The file of metrics reads as if the run had never stopped; the progress line suits where it is shown."""

import io
import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboardX.proto.event_pb2 import Event

from errors import InputError
from training.metrics import FILE_NAME, MetricsWriter, Progress, read_metrics


def _train(folder, steps, resumed_step=0, tag="run"):
    with MetricsWriter(folder, resumed_step) as metrics:
        for step in range(resumed_step + 1, steps + 1):
            metrics.write(step, loss=1 / step, tag=tag)


def _events(folder):
    """(step, name, value) of every scalar and (step, "purge", None) of every purge, in the files' order."""
    for path in sorted(folder.glob("events*")):
        content = path.read_bytes()
        while content:
            # The record format: length uint64, its checksum, the event, its checksum.
            (length,) = struct.unpack_from("<Q", content)
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            if event.HasField("session_log"):
                yield event.step, "purge", None
            for value in event.summary.value:
                yield event.step, value.tag, value.simple_value


def test_lines_are_on_disk_at_once(tmp_path):
    with MetricsWriter(tmp_path) as metrics:
        metrics.write(1, loss=2.5)
        assert (tmp_path / FILE_NAME).read_text() == '{"step": 1, "loss": 2.5}\n'


@settings(max_examples=15)
@given(reached=st.integers(0, 6), resumed=st.integers(0, 6), cut=st.integers(0, 30))
def test_a_resumed_file_equals_an_uninterrupted_one(tmp_path_factory, reached, resumed, cut):
    """Killed after `reached` lines and a part of the next, resumed from a checkpoint at or before that."""
    resumed = min(resumed, reached)
    whole, broken = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("broken")
    _train(whole, 8)
    _train(broken, reached)
    with open(broken / FILE_NAME, "a") as file:
        file.write(json.dumps({"step": reached + 1, "loss": 0.125, "tag": "run"})[:cut])
    _train(broken, 8, resumed)
    assert (broken / FILE_NAME).read_text() == (whole / FILE_NAME).read_text()
    assert [line["step"] for line in read_metrics(broken)] == list(range(1, 9))


def test_a_new_run_in_an_old_folder_starts_afresh(tmp_path):
    _train(tmp_path, 5, tag="old")
    _train(tmp_path, 2, tag="new")
    assert [line["tag"] for line in read_metrics(tmp_path)] == ["new", "new"]


def test_tensorboard_gets_the_numbers_and_the_step_to_purge_from(tmp_path):
    _train(tmp_path, 2)
    _train(tmp_path, 3, resumed_step=1)
    assert list(_events(tmp_path)) == [
        (1, "purge", None),
        (1, "loss", 1.0),
        (2, "loss", 0.5),
        (2, "purge", None),
        (2, "loss", 0.5),
        (3, "loss", pytest.approx(1 / 3)),
    ]


@pytest.mark.parametrize("line", ["{half", "[1]", '{"loss": 1.0}'])
def test_a_damaged_line_is_named(tmp_path, line):
    (tmp_path / FILE_NAME).write_text('{"step": 1}\n' + line + '\n{"step": 3}\n')
    with pytest.raises(InputError, match=f"{FILE_NAME}, line 2"):
        MetricsWriter(tmp_path, resumed_step=3)


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def _progress(stream, steps=100, resumed_step=10):
    progress = Progress("palm", steps, resumed_step, stream)
    for step in range(resumed_step + 1, steps + 1):
        progress.update(step, loss=3.25, tokens_per_second=5000.0, mfu=0.412)
    progress.close()
    return stream.getvalue()


def test_a_log_gets_few_whole_lines():
    lines = _progress(io.StringIO()).splitlines()
    assert len(lines) == 2, "one at the start, one at the end of a run shorter than ten seconds"
    assert lines[-1].startswith("palm 100% step 100/100, loss 3.2500, 5,000 tokens/s, MFU 41.2%, 00:00 to go")
    assert "\r" not in "".join(lines)


def test_a_terminal_gets_one_line_redrawn():
    shown = _progress(_Terminal())
    assert shown.count("\n") == 1 and "\r" in shown
    assert "step 100/100, loss 3.2500" in shown


def test_mfu_is_left_out_where_the_peak_is_unknown():
    stream = io.StringIO()
    progress = Progress("gopher", 1, stream=stream)
    progress.update(1, loss=1.0, tokens_per_second=10.0)
    progress.close()
    assert "MFU" not in stream.getvalue() and "10 tokens/s, 00:00 to go" in stream.getvalue()
