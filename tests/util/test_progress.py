from __future__ import annotations

import io
import logging

import numpy as np
import pytest

from util import progress
from util.progress import ProgressLine, format_seconds, write_line


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def lines(monkeypatch):
    """The lines that are written."""
    written = []
    monkeypatch.setattr(progress, "write_line", written.append)
    return written


def test_line_tells_share_rate_and_time_left(clock):
    line = ProgressLine(100, "itr", stream=io.StringIO())
    text = line.format(25, clock[0] + 10, {"step": 5000, "loss": np.float32(1 / 3)})
    assert text == (
        "[ 25%] 25/100 itr | 2.5 itr/s | ETA 0:30 | step 5000 | loss 0.3333"
    )


def test_numbers_are_read_only_when_they_are_shown(clock, lines):
    class Tensor:
        reads = 0

        def __float__(self):
            Tensor.reads += 1
            return 0.125

    line = ProgressLine(10, interval=30.0)
    line.update(1, loss=Tensor())
    assert Tensor.reads == 0
    clock[0] += 31
    line.update(2, loss=Tensor())
    assert Tensor.reads == 1
    assert lines[0].endswith("loss 0.125")


def test_slow_progress_is_told_in_seconds_per_unit(clock):
    line = ProgressLine(10, "epoch", stream=io.StringIO())
    text = line.format(1, clock[0] + 8, {})
    assert text == "[ 10%] 1/10 epoch | 8.0 s/epoch | ETA 1:12"


def test_nothing_done_has_no_rate(clock):
    line = ProgressLine(10, stream=io.StringIO())
    assert line.format(0, clock[0] + 8, {}) == "[  0%] 0/10 itr"


def test_rate_after_a_resume_counts_what_was_done_since(clock):
    line = ProgressLine(100, stream=io.StringIO())
    line.restart(90)
    assert "0.5 itr/s" not in line.format(95, clock[0] + 10, {})
    assert "2.0 s/itr | ETA 0:10" in line.format(95, clock[0] + 10, {})


def test_without_a_terminal_a_line_comes_now_and_then(clock, lines):
    line = ProgressLine(100, interval=30, stream=io.StringIO())
    for done in range(1, 71):
        clock[0] += 1
        line.update(done)
    assert [text.split(" |")[0] for text in lines] == [
        "[ 30%] 30/100 itr",
        "[ 60%] 60/100 itr",
    ]


def test_without_a_terminal_the_last_line_always_comes(clock, lines):
    ProgressLine(2, stream=io.StringIO()).update(2)
    assert lines == ["[100%] 2/2 itr"]


def test_on_a_terminal_the_line_is_rewritten_in_place(clock, lines):
    stream = Terminal()
    line = ProgressLine(2, stream=stream)
    clock[0] += 0.2
    line.update(1)
    clock[0] += 0.2
    line.update(1.5)
    line.update(2)
    assert stream.getvalue() == (
        "\r\x1b[K[ 50%] 1/2 itr | 5.0 itr/s | ETA 0:01"
        "\r\x1b[K[ 75%] 1.5/2 itr | 3.7 itr/s | ETA 0:01"
        "\r\x1b[K[100%] 2/2 itr | 5.0 itr/s | ETA 0:00\n"
    )
    assert lines == []


def test_on_a_terminal_many_updates_do_not_all_show(clock):
    stream = Terminal()
    line = ProgressLine(1000, stream=stream)
    for done in range(100):
        clock[0] += 0.01
        line.update(done)
    assert 8 <= stream.getvalue().count("\r") <= 10


def test_on_a_terminal_the_line_is_removed_for_other_output(clock):
    stream = Terminal()
    line = ProgressLine(2, stream=stream)
    line.clear()
    assert stream.getvalue() == ""
    clock[0] += 0.2
    line.update(1)
    line.clear()
    line.clear()
    text = "[ 50%] 1/2 itr | 5.0 itr/s | ETA 0:01"
    assert stream.getvalue() == f"\r\x1b[K{text}\r\x1b[K"


def test_on_a_terminal_the_line_is_cut_to_the_width(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "12")
    stream = Terminal()
    line = ProgressLine(3, stream=stream)
    clock[0] += 0.2
    line.update(1, name="long")
    assert stream.getvalue() == "\r\x1b[K[ 33%] 1/3 "


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.2, "1:00"), (3599, "59:59"), (3600, "1:00:00")],
)
def test_durations_are_readable(seconds, text):
    assert format_seconds(seconds) == text


def test_durations_of_days_are_readable():
    assert format_seconds(86400 + 61) == "1 day 0:01:01"
    assert format_seconds(3 * 86400) == "3 days 0:00:00"


def test_lines_go_to_the_log_where_there_is_one(caplog, capsys):
    with caplog.at_level(logging.INFO):
        write_line("100% done")
    assert caplog.messages == ["100% done"]
    assert capsys.readouterr().out == ""


def test_lines_go_to_standard_output_without_a_log(capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress.log, "hasHandlers", lambda: False)
        write_line("done")
    assert capsys.readouterr().out == "done\n"
