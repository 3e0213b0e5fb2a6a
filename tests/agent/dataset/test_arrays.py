"""Reading training files: what is refused, and that the message names it."""

import pickle

import numpy as np
import pytest

from agent.dataset.arrays import read_arrays

NAMES = ("states", "actions", "traj_lengths")
ALL = (*NAMES, "rewards", "terminals", "images")


def good_arrays():
    return {
        "states": np.zeros((5, 2)),
        "actions": np.zeros((5, 1), np.float32),
        "traj_lengths": np.array([3, 2]),
        "rewards": np.zeros(5),
        "terminals": np.zeros(5, bool),
        "images": np.zeros((5, 3, 2, 2), np.uint8),
    }


def write(tmp_path, **changes):
    arrays = {k: v for k, v in (good_arrays() | changes).items() if v is not None}
    path = tmp_path / "train.npz"
    np.savez(path, **arrays)
    return path


def test_arrays_come_in_the_dtypes_used_for_training(tmp_path):
    arrays = read_arrays(write(tmp_path), ALL)
    assert list(arrays) == list(ALL)
    dtypes = {name: array.dtype for name, array in arrays.items()}
    assert dtypes == {
        "states": np.float32,
        "actions": np.float32,
        "traj_lengths": np.int64,
        "rewards": np.float32,
        "terminals": np.float32,
        "images": np.uint8,
    }


def test_only_the_named_arrays_are_read(tmp_path):
    path = write(tmp_path, rewards=np.full(5, np.nan))
    assert set(read_arrays(path, NAMES)) == set(NAMES)


def test_pickled_arrays_are_read(tmp_path):
    path = tmp_path / "train.pkl"
    path.write_bytes(pickle.dumps(good_arrays()))
    arrays = read_arrays(path, ALL)
    np.testing.assert_array_equal(arrays["traj_lengths"], [3, 2])
    assert arrays["states"].shape == (5, 2)


def test_missing_file_says_what_provides_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.npz.*data\.source"):
        read_arrays(tmp_path / "absent.npz", NAMES)


def test_other_suffix_is_refused(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("1,2\n")
    with pytest.raises(ValueError, match=r"\.npz or \.pkl, got '\.csv'"):
        read_arrays(path, NAMES)


@pytest.mark.parametrize("name", ALL)
def test_missing_array_is_named(tmp_path, name):
    with pytest.raises(ValueError, match=rf"train\.npz: array '{name}' is missing"):
        read_arrays(write(tmp_path, **{name: None}), ALL)


@pytest.mark.parametrize("name", ALL)
def test_wrong_rank_is_refused(tmp_path, name):
    wrong = {name: good_arrays()[name][..., None]}
    with pytest.raises(ValueError, match=f"'{name}' must be numeric of shape"):
        read_arrays(write(tmp_path, **wrong), ALL)


def test_text_is_refused(tmp_path):
    path = write(tmp_path, states=np.array([["a", "b"]] * 5))
    with pytest.raises(ValueError, match="'states' must be numeric"):
        read_arrays(path, NAMES)


@pytest.mark.parametrize("name", ["states", "actions", "rewards", "images"])
def test_wrong_number_of_rows_is_refused(tmp_path, name):
    wrong = {name: good_arrays()[name][:-1]}
    with pytest.raises(ValueError, match=f"'{name}' has 4 rows.* sum to 5"):
        read_arrays(write(tmp_path, **wrong), ALL)


@pytest.mark.parametrize("lengths", [[3, 3], [3, 1], []])
def test_lengths_must_sum_to_the_number_of_rows(tmp_path, lengths):
    path = write(tmp_path, traj_lengths=np.array(lengths, int))
    with pytest.raises(ValueError, match=f"traj_lengths sum to {sum(lengths)}"):
        read_arrays(path, NAMES)


@pytest.mark.parametrize("lengths", [[5, 0], [6, -1]])
def test_episodes_must_have_steps(tmp_path, lengths):
    path = write(tmp_path, traj_lengths=np.array(lengths))
    match = f"must be positive, got {lengths[1]} for episode 1"
    with pytest.raises(ValueError, match=match):
        read_arrays(path, NAMES)


def test_lengths_must_be_whole_numbers(tmp_path):
    path = write(tmp_path, traj_lengths=np.array([2.5, 2.5]))
    with pytest.raises(ValueError, match="whole numbers"):
        read_arrays(path, NAMES)
    path = write(tmp_path, traj_lengths=np.array([3.0, 2.0]))
    assert read_arrays(path, NAMES)["traj_lengths"].dtype == np.int64


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["states", "actions"])
def test_values_that_are_not_finite_are_counted_and_located(tmp_path, name, value):
    array = good_arrays()[name]
    array[[2, 4]] = value
    match = f"'{name}' has NaN or infinite values in 2 of 5 rows, first in row 2"
    with pytest.raises(ValueError, match=match):
        read_arrays(write(tmp_path, **{name: array}), NAMES)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.99])
def test_truncated_archive_is_refused(tmp_path, share):
    path = write(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match=r"train\.npz: not a complete npz archive"):
        read_arrays(path, NAMES)


def test_damaged_array_is_named(tmp_path):
    path = write(tmp_path, states=np.ones((5, 2)))
    data = bytearray(path.read_bytes())
    place = data.index(np.ones(10).tobytes())
    data[place] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match="array 'states' cannot be read"):
        read_arrays(path, NAMES)


def test_objects_inside_an_archive_are_never_unpickled(tmp_path):
    path = write(tmp_path, states=np.array([{"a": 1}] * 5, dtype=object))
    with pytest.raises(ValueError, match="array 'states' cannot be read"):
        read_arrays(path, NAMES)
