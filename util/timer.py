"""A stopwatch."""

from __future__ import annotations

import time


class Timer:
    """Measures seconds since it was made or last read."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    def __call__(self, reset: bool = True) -> float:
        """Returns the seconds since construction or the last reset.

        Args:
            reset: Whether to start again from zero.
        """
        now = time.perf_counter()
        elapsed = now - self._started
        if reset:
            self._started = now
        return elapsed
