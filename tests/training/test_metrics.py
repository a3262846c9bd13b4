"""The file of metrics reads as if the run had never stopped."""

import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboardX.proto.event_pb2 import Event

from errors import InputError
from storage.sealed import opened
from training.metrics import FILE_NAME, MetricsWriter, read_metrics


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
        [line, end] = (tmp_path / FILE_NAME).read_text().split("\n")
        assert opened(json.loads(line)) == {"step": 1, "loss": 2.5} and end == ""


def test_a_number_that_is_no_longer_what_was_written_is_named(tmp_path):
    _train(tmp_path, 3)
    text = (tmp_path / FILE_NAME).read_text()
    (tmp_path / FILE_NAME).write_text(text.replace('"loss": 0.5', '"loss": 0.4'))
    with pytest.raises(InputError, match="line 2, is not a line of metrics.*Delete that line"):
        read_metrics(tmp_path)


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(InputError, match=r"metrics\.jsonl, where the run wrote its losses, cannot be read"):
        read_metrics(tmp_path)


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
