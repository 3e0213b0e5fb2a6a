import numpy as np
import tensorflow as tf
import torch

from tests.torch_to_tf.calls import FunctionOfTensor, named, typed
from util.torch_to_tf import torch_tensor_float


class TestFloat(FunctionOfTensor):
    ours = staticmethod(torch_tensor_float)
    theirs = staticmethod(torch.Tensor.float)
    SAME = [((2, 3),), ((0, 3),), ((),)]
    COMPILED = [((2, 3),)]
    REFUSED = [("positional argument", ((2,), 1))]
    UNKNOWN = [(((2, 3),), [0], [[None, 3]])]


def test_float32_stays_the_same_tensor():
    x = tf.constant(typed((2,)))
    assert torch_tensor_float(x) is x
    leaf = torch.ones(2)
    assert leaf.float() is leaf


def test_numbers_that_float32_cannot_hold():
    for values in (np.array([1e300, -1e300, np.nan, 1e-300]), np.array([2**62 + 1])):
        with named(values):
            expected = torch.from_numpy(values).float().numpy()
            np.testing.assert_array_equal(torch_tensor_float(values), expected)
