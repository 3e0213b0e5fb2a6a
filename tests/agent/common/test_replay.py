import numpy as np
import pytest

from agent.common.replay import ReplayBuffer


def rows(*numbers):
    """Rows whose arrays agree: x is the number, y twice it."""
    x = np.array(numbers, np.float32)
    return {"x": x, "y": np.stack([2 * x, 2 * x], axis=1)}


def content(buffer):
    taken = buffer.take(np.arange(len(buffer)))
    assert (taken["y"] == 2 * taken["x"][:, None]).all()
    return taken["x"].tolist()


def test_rows_come_back_oldest_first():
    buffer = ReplayBuffer(5)
    buffer.add(rows(1, 2))
    buffer.add(rows(3))
    assert len(buffer) == 3
    assert content(buffer) == [1, 2, 3]
    assert buffer.take(np.array([2, 0, 0]))["x"].tolist() == [3, 1, 1]


def test_oldest_rows_make_room():
    buffer = ReplayBuffer(3)
    for number in range(1, 6):
        buffer.add(rows(number))
    assert len(buffer) == 3
    assert content(buffer) == [3, 4, 5]
    buffer.add(rows(6, 7))
    assert content(buffer) == [5, 6, 7]


def test_of_more_rows_than_fit_the_newest_stay():
    buffer = ReplayBuffer(3)
    buffer.add(rows(1))
    buffer.add(rows(2, 3, 4, 5, 6))
    assert content(buffer) == [4, 5, 6]
    buffer.add(rows(7))
    assert content(buffer) == [5, 6, 7]


def test_memory_grows_in_blocks_up_to_the_capacity(monkeypatch):
    monkeypatch.setattr(ReplayBuffer, "block", 4)
    buffer, held = ReplayBuffer(10), []
    for number in range(11):
        buffer.add(rows(number))
        held.append(len(buffer.arrays["x"]))
    assert held == [4] * 4 + [8] * 4 + [10] * 3
    assert content(buffer) == list(range(1, 11))


def test_block_may_be_smaller_than_one_addition(monkeypatch):
    monkeypatch.setattr(ReplayBuffer, "block", 1)
    buffer = ReplayBuffer(6)
    buffer.add(rows(1))
    buffer.add(rows(2, 3, 4))
    assert content(buffer) == [1, 2, 3, 4]


def test_dtypes_are_those_of_the_first_rows():
    buffer = ReplayBuffer(2)
    buffer.add({"n": np.array([1], np.int32)})
    buffer.add({"n": np.array([2.0])})
    assert buffer.take(np.arange(2))["n"].dtype == np.int32


@pytest.mark.parametrize("filled", [2, 4, 7])
def test_restored_buffer_goes_on_like_the_saved_one(filled, monkeypatch):
    monkeypatch.setattr(ReplayBuffer, "block", 3)
    one, other = ReplayBuffer(5), ReplayBuffer(5)
    for number in range(filled):
        one.add(rows(number))
    other.set_state(one.get_state())
    assert content(other) == content(one)
    for number in (10, 11, 12, 13):
        one.add(rows(number))
        other.add(rows(number))
        assert content(other) == content(one)


def test_state_of_an_empty_buffer():
    buffer = ReplayBuffer(5)
    buffer.set_state(ReplayBuffer(5).get_state())
    buffer.add(rows(1))
    assert content(buffer) == [1]


def test_state_holds_filled_rows_only():
    buffer = ReplayBuffer(1000)
    buffer.add(rows(1, 2))
    assert buffer.get_state()["arrays"]["x"].tolist() == [1, 2]


@pytest.mark.parametrize("capacity", [0, -1])
def test_capacity_below_1_is_refused(capacity):
    with pytest.raises(ValueError, match=f"buffer_size must be >= 1, got {capacity}"):
        ReplayBuffer(capacity)


def test_other_names_are_refused():
    buffer = ReplayBuffer(5)
    buffer.add(rows(1))
    with pytest.raises(ValueError, match=r"rows have \['x'\], the buffer has"):
        buffer.add({"x": np.zeros(1)})
    assert content(buffer) == [1]


@pytest.mark.parametrize("y", [np.zeros((1, 3)), np.zeros((2, 2))])
def test_other_shapes_are_refused(y):
    buffer = ReplayBuffer(5)
    buffer.add(rows(1))
    with pytest.raises(ValueError, match=r"y has shape .* expected \(1, 2\)"):
        buffer.add({"x": np.zeros(1), "y": y})
    assert content(buffer) == [1]
