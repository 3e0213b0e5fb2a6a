"""Pickled data: arrays are read, and nothing else is done."""

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from agent.dataset.array_pickle import load_array_pickle

ARRAYS = {
    "floats": np.arange(6, dtype=np.float64).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
    "flags": np.array([True, False]),
    "bytes": np.arange(4, dtype=np.uint8),
    "big_endian": np.arange(3, dtype=">f4"),
    "scalar": np.array(3.5),
    "empty": np.zeros((0, 2), np.float32),
}


@pytest.fixture
def write(tmp_path):
    def write_file(contents):
        path = tmp_path / "train.pkl"
        data = contents if isinstance(contents, bytes) else pickle.dumps(contents)
        path.write_bytes(data)
        return path

    return write_file


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol_are_read(write, protocol):
    loaded = load_array_pickle(write(pickle.dumps(ARRAYS, protocol)))
    assert loaded.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].flags.writeable


def test_files_of_older_numpy_are_read(write):
    data = pickle.dumps(ARRAYS, 2).replace(b"numpy._core", b"numpy.core")
    loaded = load_array_pickle(write(data))
    np.testing.assert_array_equal(loaded["floats"], ARRAYS["floats"])


def test_lists_of_numbers_and_ordered_mappings_are_read(write):
    loaded = load_array_pickle(write(OrderedDict(traj_lengths=[3, 2])))
    np.testing.assert_array_equal(loaded["traj_lengths"], [3, 2])


class Command:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_hostile_pickle_is_refused_and_not_executed(write, tmp_path):
    path = write({"states": Command(tmp_path / "executed")})
    with pytest.raises(ValueError, match=r"train\.pkl.*refused.*mkdir"):
        load_array_pickle(path)
    assert not (tmp_path / "executed").exists()


def test_functions_that_are_allowed_cannot_be_changed(write):
    data = b"c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb."
    with pytest.raises(ValueError, match="tries to change a function"):
        load_array_pickle(write(data))


@pytest.mark.parametrize(
    "contents",
    [
        {"states": np.array([{"a": 1}], dtype=object)},
        {"states": np.array(["text"])},
        {"states": np.zeros(2, dtype=[("a", "f4")])},
        {"states": "text"},
        {"states": [np.zeros(2), "text"]},
        {"states": 1 + 2j},
        [np.zeros(2)],
        b"",
        b"not a pickle",
        pickle.dumps(ARRAYS)[:-20],
        b"cnumpy\nndarray\n(tR.",
        b"}X\x01\x00\x00\x00acnumpy\nndarray\n(tRs.",
        b"}X\x01\x00\x00\x00acnumpy._core.numeric\n_frombuffer\n(tRs.",
    ],
)
def test_everything_but_a_mapping_of_numeric_arrays_is_refused(write, contents):
    with pytest.raises(ValueError, match=r"train\.pkl: only a pickled dict"):
        load_array_pickle(write(contents))


def test_text_in_other_encodings_is_refused(write):
    data = b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR."
    with pytest.raises(ValueError, match="rot13"):
        load_array_pickle(write(data))
