import numpy as np
import tensorflow as tf
import torch

from tests.torch_to_tf.calls import FunctionOfTensor
from util.torch_to_tf import torch_tensor_long


class TestLong(FunctionOfTensor):
    ours = staticmethod(torch_tensor_long)
    theirs = staticmethod(torch.Tensor.long)
    SAME = [((2, 3),), ((0, 3),), ((),)]
    COMPILED = [((2, 3),)]
    REFUSED = [("positional argument", ((2,), 1))]
    UNKNOWN = [(((2, 3),), [0], [[None, 3]])]


def test_fractions_are_cut_off():
    values = np.array([-1.9, -1.0, -0.5, 0.5, 1.9, 2.0**40 + 0.5])
    expected = torch.from_numpy(values).long().numpy()
    np.testing.assert_array_equal(torch_tensor_long(values), expected)


def test_int64_stays_the_same_tensor():
    x = tf.constant([1], tf.int64)
    assert torch_tensor_long(x) is x
