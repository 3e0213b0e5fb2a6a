import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES
from tests.torch_to_tf.calls import named
from tests.torch_to_tf.compare import (
    assert_both_refuse,
    assert_same_function,
    random,
)
from util.torch_to_tf import torch_tensor_expand_as

# Shape of the tensor and of the other.
CASES = [
    ((1, 3), (2, 3)),
    ((3, 1), (2, 3, 4)),
    ((2, 3), (2, 3)),
    ((), (2, 0)),
    ((1,), (0,)),
    ((), ()),
]


def assert_same(shape, other, mode="eager"):
    inputs = [np.asarray(random(shape)), np.asarray(random(other, 1))]
    assert_same_function(torch_tensor_expand_as, torch.Tensor.expand_as, inputs, mode)


def test_values_and_gradients_equal_torch():
    for shape, other in CASES:
        with named((shape, other)):
            assert_same(shape, other)


@pytest.mark.parametrize("mode", MODES[1:])
def test_compiled_equals_torch(mode):
    assert_same((3, 1), (2, 3, 4), mode)


@pytest.mark.parametrize(
    ("shape", "other", "match"),
    [
        ((2, 3), (4, 3), "leave what is not 1 of"),
        ((2, 3), (3,), "2 entries or more"),
        ((2, 3), (2, 1), "leave what is not 1 of"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(shape, other, match):
    assert_both_refuse(
        lambda: torch_tensor_expand_as(tf.zeros(shape), tf.zeros(other)),
        lambda: torch.zeros(shape).expand_as(torch.zeros(other)),
        match,
    )


def test_unknown_sizes_leave_the_others_known():
    specs = tf.TensorSpec([None, 1]), tf.TensorSpec([None, 3])
    traced = tf.function(torch_tensor_expand_as, input_signature=specs)
    assert traced.get_concrete_function().outputs[0].shape.as_list() == [None, 3]
    x, y = random((2, 1)), random((2, 3))
    expected = torch.from_numpy(x).expand_as(torch.from_numpy(y))
    np.testing.assert_array_equal(traced(x, y), expected.numpy())


def test_sizes_that_do_not_fit_are_refused_when_others_are_unknown():
    specs = tf.TensorSpec([None, 2]), tf.TensorSpec([None, 3])
    traced = tf.function(torch_tensor_expand_as, input_signature=specs)
    with pytest.raises(ValueError, match="leave what is not 1 of"):
        traced.get_concrete_function()


@pytest.mark.parametrize(
    ("x", "y", "name"), [([1.0], np.ones(1), "input"), (np.ones(1), [1.0], "other")]
)
def test_lists_are_refused(x, y, name):
    with pytest.raises(TypeError, match=f"{name} must be a tensor, got"):
        torch_tensor_expand_as(x, y)
