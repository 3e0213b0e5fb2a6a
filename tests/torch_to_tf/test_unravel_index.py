import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES
from tests.torch_to_tf.calls import named
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function
from util.torch_to_tf import torch_unravel_index

# Indices and shape.
CASES = [
    ([0, 3, 5], (2, 3)),
    ([[0, 3], [5, 1]], (2, 3, 1)),
    ([6, -1, -7, 100], (2, 3)),
    ([4, 5], 6),
    ([7, -2], [6]),
    (4, (2, 3)),
    ([], (2, 3)),
    ([], (0, 3)),
    ([[], []], (3, 0)),
    ([23, 11, 0], torch.Size([2, 3, 4])),
]


def assert_same_indices(indices, shape, mode="eager", dtype="int64"):
    with named((indices, shape, dtype)):
        assert_same_function(
            lambda x: torch_unravel_index(x, shape),
            lambda x: torch.unravel_index(x, shape),
            [np.array(indices, dtype)],
            mode,
        )


def test_indices_equal_torch():
    for indices, shape in CASES:
        assert_same_indices(indices, shape)


@pytest.mark.parametrize("mode", MODES[1:])
def test_compiled_equals_torch(mode):
    for indices, shape in CASES[:5]:
        assert_same_indices(indices, shape, mode)


@pytest.mark.parametrize("dtype", ["int32", "int16", "int8", "uint8"])
def test_results_are_int64(dtype):
    assert_same_indices([0, 3, 5], (2, 3), dtype=dtype)
    assert_same_indices(4, (2, 3), dtype=dtype)


def test_no_axes_give_no_indices():
    assert torch_unravel_index(tf.constant([4]), ()) == ()
    assert torch.unravel_index(torch.tensor([4]), ()) == ()


@pytest.mark.parametrize(
    ("indices", "shape", "match"),
    [
        (np.float32([4]), (2, 3), "indices must be whole numbers, got float32"),
        (np.array([True]), (2, 3), "indices must be whole numbers, got bool"),
        (np.array([4]), (0, 3), r"no 0 where indices are, got \(0, 3\)"),
        (np.array([4]), (-1, 3), r"shape\[0\] must be >= 0, got -1"),
        (np.array([4]), (2.0, 3), r"shape\[0\] must be an int, got 2.0"),
        (np.array([4]), 2.0, "shape must be a tuple of ints, got 2.0"),
    ],
)
def test_refusals_equal_torch(indices, shape, match):
    assert_both_refuse(
        lambda: torch_unravel_index(indices, shape),
        lambda: torch.unravel_index(torch.from_numpy(indices), shape),
        match,
    )


def test_lists_and_numbers_are_refused():
    for indices in ([4], 4):
        with pytest.raises(TypeError, match="indices must be a tensor, got"):
            torch_unravel_index(indices, (2, 3))


def test_unknown_sizes():
    spec = tf.TensorSpec([None, 2], tf.int32)
    traced = tf.function(lambda x: torch_unravel_index(x, (2, 3)), autograph=False)
    outputs = traced.get_concrete_function(spec).outputs
    assert [out.shape.as_list() for out in outputs] == [[None, 2]] * 2


def test_sizes_may_be_tensors_of_one_number():
    traced = tf.function(
        lambda x, grid: torch_unravel_index(x, (tf.shape(grid)[0], tf.shape(grid)[1])),
        input_signature=[tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, None])],
    )
    found = traced([1, 5], tf.zeros([2, 3]))
    np.testing.assert_array_equal(found, np.unravel_index([1, 5], (2, 3)))
