"""Graph or XLA: all ways run, and the first calls are left out."""

import itertools

import pytest

from tests.bench import compilation


def test_first_calls_are_not_counted(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(compilation.time, "perf_counter", lambda: next(clock))
    calls = []
    ways = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    assert compilation.measure(ways, rounds=3) == {"a": 1000.0, "b": 1000.0}
    assert calls == ["a", "b"] * 5


@pytest.mark.full
def test_all_ways_of_cloning_and_sampling_run(tmp_path):
    for group in ("sample", "clone"):
        ways = compilation.GROUPS[group](tmp_path / group)
        assert all(value > 0 for value in compilation.measure(ways, rounds=1).values())
