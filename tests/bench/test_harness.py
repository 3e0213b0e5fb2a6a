"""Rounds in turns, medians, and what counts as quiet."""

import itertools

import pytest

from tests.bench import harness
from tests.bench.harness import Gate, Round, Series, in_turns, measure
from tests.bench.machine import Reading


class FakeSide:
    """Answers with numbers of its own and remembers the order of all sides."""

    def __init__(self, side: str, pid: int, log: list) -> None:
        self.side, self.pid, self.log = side, pid, log

    def ask(self, command, *args):
        self.log.append((self.side, *args))
        return [float(self.pid), float(self.pid)]


def series_of(*seconds: float, idle=1.0, foreign=0.0) -> Series:
    return Series([Round([s], idle, foreign, 0.0) for s in seconds])


@pytest.fixture
def sides(monkeypatch):
    monkeypatch.setattr(harness.Reading, "take", lambda pids=(): Reading(0, 0, 0))
    log = []
    return FakeSide("torch", 1, log), FakeSide("ours", 2, log), log


def test_sides_take_turns_and_begin_alternately(sides):
    one, other, log = sides
    in_turns({"a": [one, other]}, 2, lambda: 1.0)
    assert [name for name, _ in log] == ["torch", "ours", "ours", "torch"]


def test_each_case_is_measured_on_its_sides_only(sides):
    one, other, log = sides
    results = in_turns({"a": [one, other], "b": [one]}, 1, lambda: 1.0)
    assert log == [("torch", "a"), ("ours", "a"), ("torch", "b")]
    assert list(results["b"]) == ["torch"]
    assert results["a"]["ours"].median() == 2.0


def test_the_gate_is_asked_before_each_measurement(sides):
    one, other, _ = sides
    shares = itertools.count()
    results = in_turns({"a": [one, other]}, 1, lambda: next(shares) / 10)
    assert [results["a"][s].rounds[0].idle_before for s in ("torch", "ours")] == [
        0,
        0.1,
    ]


def test_others_and_waiting_sides_are_told_apart(monkeypatch):
    """Of 10 busy seconds, 6 are of the measured side, 1 of the waiting one."""
    readings = {
        (1, 2): iter([Reading(0, 0, 0), Reading(10, 20, 7)]),
        (2,): iter([Reading(0, 0, 0), Reading(10, 20, 1)]),
    }
    monkeypatch.setattr(harness.Reading, "take", lambda pids: next(readings[(*pids,)]))
    side, other = FakeSide("torch", 1, []), FakeSide("ours", 2, [])
    done = measure(side, "a", [side, other], idle=1.0)
    assert done.foreign == pytest.approx(0.15)
    assert done.waiting == 1
    assert not done.is_quiet


def test_median_is_over_all_units_of_all_rounds():
    rounds = [Round([1.0, 9.0, 2.0], 1, 0, 0), Round([3.0, 4.0], 1, 0, 0)]
    assert Series(rounds).median() == 3.0


def test_spread_is_the_farther_quartile():
    assert series_of(1.0, 1.0, 1.0, 1.2, 1.4).spread() == pytest.approx(0.2)
    assert series_of(2.0).spread() == 0


@pytest.mark.parametrize(
    ("series", "quiet"),
    [
        (series_of(1.0, 1.01), True),
        (series_of(1.0, 1.01, idle=0.9), False),
        (series_of(1.0, 1.01, foreign=0.1), False),
        (series_of(1.0, 2.0, 4.0), False),
    ],
)
def test_a_series_is_good_if_quiet_and_steady(series, quiet):
    assert series.is_quiet() == quiet


def test_gate_waits_only_if_asked_to(monkeypatch):
    monkeypatch.setattr(harness, "idle_share", lambda seconds: 0.5)
    monkeypatch.setattr(harness, "wait_until_quiet", lambda: 0.99)
    assert Gate(wait=False)() == 0.5
    assert Gate(wait=True)() == 0.99


def test_rounds_are_short_in_json():
    kept = Round([0.123456789], 0.98765, 0.01234, 0.0).as_dict()
    assert kept["seconds"] == [0.12346]
    assert kept["idle_before"] == 0.988
