from __future__ import annotations

import pytest

from util import timer


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [100.0]
    monkeypatch.setattr(timer.time, "perf_counter", lambda: now[0])
    return now


def test_timer_counts_from_construction(clock):
    measure = timer.Timer()
    clock[0] = 102.5
    assert measure() == 2.5


def test_timer_starts_again_after_a_call(clock):
    measure = timer.Timer()
    clock[0] = 102.5
    measure()
    clock[0] = 103.0
    assert measure() == 0.5


def test_timer_goes_on_if_not_reset(clock):
    measure = timer.Timer()
    clock[0] = 102.5
    assert measure(reset=False) == 2.5
    clock[0] = 103.0
    assert measure() == 3.0
