import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.torch_to_tf.calls import DTYPES, named, typed
from tests.torch_to_tf.compare import assert_both_refuse
from util.torch_to_tf import torch_from_numpy


def test_values_shapes_and_types_equal_torch():
    for dtype in (*DTYPES, "int8", "uint16", "complex64"):
        for shape in [(2, 3), (0, 3), ()]:
            array = typed(shape, dtype) if dtype != "complex64" else 1j * typed(shape)
            with named((dtype, shape)):
                found = torch_from_numpy(np.asarray(array))
                expected = torch.from_numpy(np.asarray(array)).numpy()
                assert found.dtype.name == expected.dtype.name
                assert tuple(found.shape) == expected.shape
                np.testing.assert_array_equal(found, expected)


def test_steps_other_than_one_are_followed():
    array = np.arange(12.0).reshape(3, 4)
    for view in (array.T, array[:, ::2], array[::-1]):
        np.testing.assert_array_equal(torch_from_numpy(view), view)


def test_a_later_change_of_the_array_does_not_show():
    array = np.zeros(1000, np.float32)
    tensor = torch_from_numpy(array)
    array[:] = 1.0
    np.testing.assert_array_equal(tensor, np.zeros(1000))


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ([1.0], r"ndarray must be a NumPy array, got \[1.0\]"),
        (np.float32(1), "ndarray must be a NumPy array"),
        (1.0, "ndarray must be a NumPy array, got 1.0"),
        (np.array(["a"]), "ndarray must be an array of numbers, got type <U1"),
        (np.array([None]), "ndarray must be an array of numbers, got type object"),
        (np.zeros(2, np.longdouble), "ndarray must be an array of numbers"),
        (np.zeros(2, "datetime64[s]"), "ndarray must be an array of numbers"),
        (np.zeros(2, [("a", np.int32)]), "ndarray must be an array of numbers"),
        (np.zeros(2, ">i4"), "ndarray must have the machine's byte order"),
    ],
)
def test_refusals_equal_torch(value, match):
    assert_both_refuse(
        lambda: torch_from_numpy(value), lambda: torch.from_numpy(value), match
    )


def test_tensors_are_refused():
    assert_both_refuse(
        lambda: torch_from_numpy(tf.ones([2])),
        lambda: torch.from_numpy(torch.ones(2)),
        "ndarray must be a NumPy array",
    )
