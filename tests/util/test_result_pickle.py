from __future__ import annotations

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from util.result_pickle import read_results

ROWS = [
    {"itr": 0, "step": 0, "time": 1.5, "eval_success_rate": 0.25},
    {"itr": 1, "step": 800, "time": 2.5, "train_episode_reward": -3.0, "note": "ü"},
]


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def write(path, rows, protocol=pickle.DEFAULT_PROTOCOL):
    path.write_bytes(pickle.dumps(rows, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_rows_are_read_in_every_protocol(tmp_path, protocol):
    assert read_results(write(tmp_path / "r.pkl", ROWS, protocol)) == ROWS


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_numpy_scalars_become_numbers(tmp_path, protocol):
    rows = [{"a": np.float64(0.1), "b": np.float32(0.5), "c": np.int64(7)}]
    rows[0]["d"] = np.bool_(True)
    (row,) = read_results(write(tmp_path / "r.pkl", rows, protocol))
    assert row == {"a": 0.1, "b": 0.5, "c": 7, "d": True}
    assert [type(v) for v in row.values()] == [float, float, int, bool]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_are_read(tmp_path, protocol):
    arrays = {
        "c": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "big endian": np.arange(3, dtype=">i4"),
        "bool": np.array([True, False]),
        "empty": np.zeros((0, 2), np.float32),
    }
    (row,) = read_results(write(tmp_path / "r.pkl", [{"obs": arrays}], protocol))
    for name, value in arrays.items():
        np.testing.assert_array_equal(row["obs"][name], value)
        assert row["obs"][name].shape == value.shape


def test_names_of_old_and_new_numpy_are_read(tmp_path):
    data = pickle.dumps([{"a": np.float64(0.5), "b": np.arange(3)}], 2)
    assert b"numpy._core" in data
    path = tmp_path / "r.pkl"
    path.write_bytes(data.replace(b"numpy._core", b"numpy.core"))
    assert read_results(path)[0]["a"] == 0.5


def test_containers_inside_rows_are_read(tmp_path):
    rows = [{"a": [1, (2.0, None)], "b": OrderedDict(x=np.arange(2))}]
    (row,) = read_results(write(tmp_path / "r.pkl", rows))
    assert row["a"] == [1, (2.0, None)]
    np.testing.assert_array_equal(row["b"]["x"], [0, 1])


def test_a_hostile_file_is_refused_and_not_executed(tmp_path):
    target = tmp_path / "made"
    path = write(tmp_path / "r.pkl", [{"a": Evil(target)}])
    with pytest.raises(ValueError, match="refused because: it refers to .*mkdir"):
        read_results(path)
    assert not target.exists()


@pytest.mark.parametrize(
    "text",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy\nndarray\n(S'x'\ntR.",
        b"cnumpy\ndtype\n.",
        b"cnumpy\ndtype\n}(S'x'\nI1\nub.",
        b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
    ],
)
def test_other_names_and_their_abuse_are_refused(tmp_path, text):
    path = tmp_path / "r.pkl"
    path.write_bytes(text)
    with pytest.raises(ValueError, match="nothing in it was executed"):
        read_results(path)


def test_arrays_of_objects_are_refused(tmp_path):
    rows = [{"a": np.array([{}, {}], dtype=object)}]
    with pytest.raises(ValueError, match="does not hold plain bytes"):
        read_results(write(tmp_path / "r.pkl", rows))


def test_structured_arrays_are_refused(tmp_path):
    rows = [{"a": np.zeros(2, dtype=[("x", "f4")])}]
    with pytest.raises(ValueError, match="holds values of dtype"):
        read_results(write(tmp_path / "r.pkl", rows))


def test_shared_parts_do_not_unfold(tmp_path):
    nested = [1]
    for _ in range(100):
        nested = [nested, nested]
    (row,) = read_results(write(tmp_path / "r.pkl", [{"a": nested}]))
    assert row["a"][0] is row["a"][1]


@pytest.mark.parametrize("content", [{"itr": 1}, [1, 2], None, "text"])
def test_anything_but_rows_is_refused(tmp_path, content):
    with pytest.raises(ValueError, match="list of dicts"):
        read_results(write(tmp_path / "r.pkl", content))


@pytest.mark.parametrize("length", [0, 1, 20, -1])
def test_a_truncated_file_is_refused(tmp_path, length):
    path = tmp_path / "r.pkl"
    path.write_bytes(pickle.dumps(ROWS)[:length])
    with pytest.raises(ValueError, match=r"r\.pkl must be a pickled list"):
        read_results(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"r\.pkl"):
        read_results(tmp_path / "r.pkl")
