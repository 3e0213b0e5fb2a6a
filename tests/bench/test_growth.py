"""The growth of an iteration's time: what is added up, and what is scaled."""

import pytest

from tests.bench import growth


class Toy:
    def __init__(self):
        self.calls = 0

    def act(self, value):
        self.calls += value
        return self.calls


def test_watch_adds_up_the_calls_and_changes_no_result():
    toy, watch = Toy(), growth.Watch()
    watch.over(toy, "act", "acting")
    assert [toy.act(2), toy.act(3)] == [2, 5]
    assert set(watch.seconds) == {"acting"}
    assert watch.seconds["acting"] > 0


def test_parts_of_a_short_iteration_become_those_of_the_leaf(monkeypatch):
    monkeypatch.setattr(growth.Setting, "__init__", lambda self: None)
    setting = growth.Setting()
    setting.steps, setting.whole_steps = 10, 500
    seconds = {"act": 1.0, "simulate": 2.0, "collect": 4.0, "learn": 3.0, "all": 7.5}
    setting.rounds = [seconds, seconds, dict.fromkeys(seconds, 1e9)]
    found = setting.result()
    assert found["act ms"] == 100.0
    assert found["simulate s"] == 100.0
    assert found["keep s"] == 50.0
    assert found["learn s"] == 150.0
    assert found["save s"] == 0.5  # once, however long the rollout
    assert found["iteration s"] == 350.5


def test_table_has_a_row_for_each_setting():
    text = growth.table({"a": {"act ms": 1.0}, "b": {"act ms": 22.22}})
    assert text.splitlines()[0] == "| setting | act ms |"
    assert text.splitlines()[-1] == "| b | 22.2 |"


@pytest.mark.full
def test_bytes_of_the_rollout_are_those_of_its_arrays(tmp_path):
    size = growth.rollout_bytes(tmp_path)
    rows, inner, chunk = 500 * 40, 10, 4 * 3
    assert size["chains"] == rows * (inner + 1) * chunk * 4
    assert size["logprobs"] == rows * inner * chunk * 4
    assert size["executed actions"] == rows * chunk * 4
