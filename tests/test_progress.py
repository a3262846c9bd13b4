"""The progress line suits where it is shown."""

import io

import pytest

from progress import Progress, bar, printable


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def _progress(stream, steps=100, resumed_step=10):
    progress = Progress("palm", steps, resumed_step, stream=stream)
    for step in range(resumed_step + 1, steps + 1):
        progress.update(step, loss=3.25, tokens_per_second=5000.0, mfu=0.412)
    progress.close()
    return stream.getvalue()


def test_a_log_gets_few_whole_lines():
    lines = _progress(io.StringIO()).splitlines()
    assert len(lines) == 2, "one at the start, one at the end of a run shorter than fifteen seconds"
    assert lines[-1].startswith("palm 100% step 100/100, loss 3.2500, 5,000 tokens/s, MFU 41.2%, 00:00 to go")
    assert "\r" not in "".join(lines)


def test_a_terminal_gets_one_line_redrawn():
    drawn = _progress(_Terminal())
    assert drawn.count("\n") == 1 and "\r" in drawn
    assert "step 100/100, loss 3.2500" in drawn


def test_mfu_is_left_out_where_the_peak_is_unknown():
    stream = io.StringIO()
    progress = Progress("gopher", 1, stream=stream)
    progress.update(1, loss=1.0, tokens_per_second=10.0)
    progress.close()
    assert "MFU" not in stream.getvalue() and "10 tokens/s, 00:00 to go" in stream.getvalue()


def test_of_many_processes_one_shows_it():
    stream = io.StringIO()
    progress = Progress("retro", 1, shown=False, stream=stream)
    progress.update(1, loss=1.0, tokens_per_second=10.0)
    progress.close()
    assert stream.getvalue() == ""


@pytest.mark.parametrize("stream", [io.StringIO(), _Terminal()])
def test_short_work_shows_no_bar(stream):
    with bar("embedding chunks", 10, "chunk", done=4, stream=stream) as progress:
        progress.update(6)
    assert stream.getvalue().strip() == ""


def test_what_a_terminal_would_obey_is_printed_as_escapes():
    text = "a\x1b[31mb\x07\r\x9b\x7f\u202ec\u2066\u2028\ud800é漢\U0001f600\n\t."
    shown = "a\\x1b[31mb\\x07\\r\\x9b\\x7f\\u202ec\\u2066\\u2028\\ud800é漢\U0001f600"
    assert printable(text) == shown + "\n\t."
    assert printable(text, kept="") == shown + "\\n\\t."
    assert printable(plain := "".join(map(chr, range(32, 127)))) == plain
