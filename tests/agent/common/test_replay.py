from unittest import mock

import numpy as np
import pytest

from agent.common.replay import ReplayBuffer
from agent.common.row_file import RowFile
from util.checkpoint import load_state, save_state


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


def test_states_of_earlier_versions_are_read():
    buffer = ReplayBuffer(3)
    x = np.array([4, 2, 3], np.float32)
    arrays = {"x": x, "y": np.stack([2 * x, 2 * x], axis=1)}
    buffer.set_state({"arrays": arrays, "size": 3, "next": 1})
    assert content(buffer) == [2, 3, 4]


def test_of_a_state_with_more_rows_than_fit_the_newest_stay():
    large, small = ReplayBuffer(5), ReplayBuffer(3)
    large.add(rows(1, 2, 3, 4, 5))
    small.set_state(large.get_state())
    small.add(rows(6))
    assert content(small) == [4, 5, 6]


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


def test_memory_is_stated_once(caplog):
    caplog.set_level("INFO")
    buffer = ReplayBuffer(2**20)
    buffer.add(rows(1))
    buffer.add(rows(2))
    # Three numbers of 4 bytes.
    assert caplog.messages == [
        "replay buffer: at most 1048576 rows of 12 bytes, 12.0 MiB of memory."
    ]


# -- rows on disk --------------------------------------------------------------------


class Run:
    """A buffer whose state is saved in `last` beside its rows."""

    def __init__(self, folder, capacity=5):
        self.last = folder / "last"
        self.buffer = ReplayBuffer(capacity, folder / "buffer")

    def write(self):
        """What is on disk when the process is killed before the end of a save."""
        state = self.buffer.get_state()
        save_state(self.last, {"buffer": state}, {})

    def save(self):
        self.write()
        self.buffer.settle()
        return self

    def resumed(self):
        run = Run(self.last.parent, self.buffer.capacity)
        run.buffer.set_state(load_state(self.last)[0]["buffer"])
        return run

    def sizes(self):
        """Bytes of each file of rows."""
        folder = self.last.parent / "buffer"
        return {path.name: path.stat().st_size for path in folder.iterdir()}


ROW = 12


def test_a_save_writes_new_rows_only(tmp_path):
    run, written = Run(tmp_path, 10), []
    append = RowFile._packed

    def noted(file, piece):
        written.append(piece["x"].tolist())
        return append(file, piece)

    with mock.patch.object(RowFile, "_packed", noted):
        for numbers in ((1, 2, 3), (4,), (), (5, 6)):
            if numbers:
                run.buffer.add(rows(*numbers))
            run.save()
    assert written == [[1, 2, 3], [4], [5, 6]]
    assert run.sizes() == {"rows_0": 6 * ROW}
    assert content(run.resumed().buffer) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("block", [1, 2, 65536])
@pytest.mark.parametrize("per_save", [1, 2, 3, 7])
def test_resumed_buffer_equals_the_saved_one(tmp_path, monkeypatch, block, per_save):
    monkeypatch.setattr(ReplayBuffer, "block", block)
    run, straight = Run(tmp_path), ReplayBuffer(5)
    for start in range(0, 30, per_save):
        numbers = range(start, start + per_save)
        run.buffer.add(rows(*numbers))
        straight.add(rows(*numbers))
        run = run.save().resumed()
        assert content(run.buffer) == content(straight)
        # The ring passes over old rows, and with them goes the file.
        assert sum(run.sizes().values()) <= (2 * 5 + per_save) * ROW
        assert len(run.sizes()) == 1


def test_rows_of_a_save_that_no_checkpoint_followed_are_forgotten(tmp_path):
    run = Run(tmp_path)
    run.buffer.add(rows(1, 2))
    run.save()
    run.buffer.add(rows(3, 4))
    run.buffer.get_state()  # Killed before `last` is written.
    assert run.sizes() == {"rows_0": 4 * ROW}
    run = run.resumed()
    assert content(run.buffer) == [1, 2]
    run.buffer.add(rows(7))
    assert content(run.save().resumed().buffer) == [1, 2, 7]
    assert run.sizes() == {"rows_0": 3 * ROW}


def test_a_killed_save_of_overwritten_rows_leaves_the_last_state(tmp_path):
    run = Run(tmp_path)
    run.buffer.add(rows(1, 2, 3, 4, 5))
    run.save()
    for number in range(6, 20):
        run.buffer.add(rows(number))
        run.buffer.get_state()
        assert content(run.resumed().buffer) == [1, 2, 3, 4, 5]
    assert content(run.save().resumed().buffer) == [15, 16, 17, 18, 19]


def test_files_go_only_when_no_checkpoint_refers_to_them(tmp_path):
    run = Run(tmp_path)
    run.buffer.add(rows(1))
    run.save()
    for number in range(2, 9):
        run.buffer.add(rows(number))  # More than fit: another file.
    run.write()  # Killed before it settles.
    assert set(run.sizes()) == {"rows_0", "rows_1"}
    run = run.resumed()
    assert content(run.buffer) == [4, 5, 6, 7, 8]
    run.save()
    assert set(run.sizes()) == {"rows_1"}


def test_changed_rows_are_written_again(tmp_path):
    run = Run(tmp_path)
    run.buffer.add(rows(1, 2, 3))
    run.save()
    run.buffer.put(np.array([1]), x=np.float32([9]), y=np.float32([[18, 18]]))
    assert content(run.resumed().buffer) == [1, 2, 3]
    run.buffer.get_state()
    assert content(run.resumed().buffer) == [1, 2, 3]
    assert content(run.save().resumed().buffer) == [1, 9, 3]


def test_rows_changed_before_their_first_save_are_appended(tmp_path):
    run = Run(tmp_path)
    run.buffer.add(rows(1))
    run.save()
    run.buffer.add(rows(2))
    run.buffer.put(np.array([1]), x=np.float32([9]), y=np.float32([[18, 18]]))
    assert content(run.save().resumed().buffer) == [1, 9]
    assert set(run.sizes()) == {"rows_0"}


def test_empty_buffer_writes_nothing(tmp_path):
    run = Run(tmp_path).save()
    assert not (tmp_path / "buffer").exists()
    run = run.resumed()
    run.buffer.add(rows(1))
    assert content(run.save().resumed().buffer) == [1]


def test_another_run_in_the_folder_leaves_the_files_of_the_first(tmp_path):
    first, second = Run(tmp_path), Run(tmp_path)
    first.buffer.add(rows(1))
    first.save()
    second.buffer.add(rows(2))
    second.buffer.get_state()
    assert content(first.resumed().buffer) == [1]


def test_state_with_rows_in_a_folder_needs_one(tmp_path):
    run = Run(tmp_path)
    run.buffer.add(rows(1))
    with pytest.raises(ValueError, match="rows in a folder, the buffer has none"):
        ReplayBuffer(5).set_state(run.buffer.get_state())
