import numpy as np
import tensorflow as tf
import torch

from tests.torch_to_tf.calls import FunctionOfTensor
from util.torch_to_tf import nn_Parameter, torch_tensor_clone


class TestClone(FunctionOfTensor):
    ours = staticmethod(torch_tensor_clone)
    theirs = staticmethod(torch.Tensor.clone)
    SAME = [((2, 3),), ((0, 3),), ((),)]
    COMPILED = [((2, 3),)]
    REFUSED = [("positional argument", ((2,), 1))]
    UNKNOWN = [(((2, 3),), [0], [[None, 3]])]


def test_a_later_change_of_the_variable_does_not_show():
    for variable in (tf.Variable([1.0, 2.0]), nn_Parameter(np.float32([1, 2]))):
        copy = torch_tensor_clone(variable)
        variable.assign([3.0, 4.0])
        np.testing.assert_array_equal(copy, [1.0, 2.0])


def test_gradient_reaches_the_variable():
    variable = tf.Variable([1.0, 2.0])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(3.0 * torch_tensor_clone(variable))
    np.testing.assert_array_equal(tape.gradient(total, variable), [3.0, 3.0])
