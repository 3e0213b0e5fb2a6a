"""One line of progress: how far, how fast, how long still.

An extra file beside `util/metrics.py`, its only user, to keep that file short.
"""

from __future__ import annotations

import logging
import math
import numbers
import shutil
import sys
import time
from typing import SupportsFloat, TextIO

log = logging.getLogger(__name__)

_CLEAR_LINE = "\r\x1b[K"
_REFRESH = 0.1  # least seconds between two looks of the line on a terminal


class ProgressLine:
    """Shows progress: a line that is rewritten on a terminal, else one now and then.

    Args:
        total: What counts as finished.
        unit: Name of what is counted.
        interval: Least seconds between two lines where there is no terminal.
        stream: Where the line on a terminal goes; default standard error.
    """

    def __init__(
        self,
        total: int,
        unit: str = "itr",
        interval: float = 30.0,
        stream: TextIO | None = None,
    ) -> None:
        self.total, self.unit, self.interval = total, unit, interval
        self._stream = sys.stderr if stream is None else stream
        self._is_terminal = self._stream.isatty()
        self._shown = False
        self.restart(0)

    def restart(self, done: float) -> None:
        """Counts the rate from now on; `done` were done before."""
        self._first_done, self._started = done, time.monotonic()
        self._last_shown = self._started

    def update(self, done: float, **short: SupportsFloat | str) -> None:
        """Says that `done` of `total` are done.

        Args:
            done: Number done; a fraction inside of one.
            **short: A few numbers to show behind; tensors are read only if shown.
        """
        now = time.monotonic()
        finished = done >= self.total
        pause = _REFRESH if self._is_terminal else self.interval
        if now - self._last_shown < pause and not finished:
            return
        self._last_shown = now
        if self._is_terminal:
            text = self.format(done, now, short)
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"{_CLEAR_LINE}{text[:width]}")
            self._stream.write("\n" if finished else "")
            self._stream.flush()
            self._shown = not finished
        else:
            write_line(self.format(done, now, short))

    def clear(self) -> None:
        """Removes the line from a terminal, so that something else can be written."""
        if self._shown:
            self._stream.write(_CLEAR_LINE)
            self._stream.flush()
            self._shown = False

    def format(
        self, done: float, now: float, short: dict[str, SupportsFloat | str]
    ) -> str:
        """Returns the line, for example `[ 42%] 42/100 itr | 2.1 itr/s | ETA 0:28`."""
        share = f"{int(100 * done / self.total):3d}%" if self.total > 0 else "  ?%"
        count = f"{done:.0f}" if done == int(done) else f"{done:.1f}"
        parts = [f"[{share}] {count}/{self.total} {self.unit}"]
        elapsed, new = now - self._started, done - self._first_done
        if elapsed > 0 and new > 0:
            left = max(0, self.total - done) * elapsed / new
            parts += [_rate(new / elapsed, self.unit), f"ETA {format_seconds(left)}"]
        parts += [f"{name} {_value(value)}" for name, value in short.items()]
        return " | ".join(parts)


def write_line(text: str) -> None:
    """Writes one line to the log, or to standard output where nobody set up logging.

    `script/run.py` sends the log to standard output and to `run.log`.
    """
    if log.isEnabledFor(logging.INFO) and log.hasHandlers():
        log.info("%s", text)
    else:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def format_seconds(seconds: float) -> str:
    """Returns a duration as `m:ss`, `h:mm:ss` or `d days h:mm:ss`."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes}:{rest:02d}"
    days, hours = divmod(hours, 24)
    prefix = f"{days} day{'s' if days > 1 else ''} " if days else ""
    return f"{prefix}{hours}:{minutes:02d}:{rest:02d}"


def _rate(rate: float, unit: str) -> str:
    return f"{rate:.1f} {unit}/s" if rate >= 1 else f"{1 / rate:.1f} s/{unit}"


def _value(value: SupportsFloat | str) -> str:
    if isinstance(value, str | numbers.Integral):
        return str(value)
    return f"{float(value):.4g}"
