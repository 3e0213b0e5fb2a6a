import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.calls import FunctionOfTensor
from util.torch_to_tf import torch_tensor_expand


class TestExpand(FunctionOfTensor):
    ours = staticmethod(torch_tensor_expand)
    theirs = staticmethod(torch.Tensor.expand)
    SAME = [
        ((1, 3), 2, 3),
        ((1, 3), (2, 3)),
        ((1, 3), {"size": [2, -1]}),
        ((2, 1), 4, -1, 3),
        ((2, 3), 2, 3),
        ((2, 3), -1, -1),
        ((1, 3), 0, 3),
        ((1, 3), 0, -1, 3),
        ((0, 1), -1, 2),
        ((), 2, 2),
        ((), ()),
    ]
    COMPILED = [((2, 1), 4, -1, 3)]
    REFUSED = [
        ("size must leave what is not 1 of", ((2, 3), 2, 4)),
        ("size must leave what is not 1 of", ((2, 3), 0, 3)),
        ("size must leave what is not 1 of", ((2, 3), 1, 3)),
        ("size must have 2 entries or more", ((2, 3), 3)),
        ("must not have -1 for a new axis", ((2, 3), -1, 2, 3)),
        ("must not have -1 for a new axis", ((), -1)),
        (r"size\[0\] must be >= -1, got -2", ((2, 3), -2, 3)),
        ("size must be given once", ((2, 3),)),
    ]
    UNKNOWN = [
        (((2, 1), -1, 3), [0], [[None, 3]]),
        (((2, 1), 4, -1, 3), [0], [[4, None, 3]]),
        (((2, 3), -1, 3), [0], [[None, 3]]),
        (((1, 3), 5, -1), [0], [[5, 3]]),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_sizes_may_be_tensors_of_one_number(mode):
    def function(x, y):
        return torch_tensor_expand(x, tf.shape(y)[0], -1)

    found = in_mode(function, mode)(tf.ones([1, 2]), tf.zeros([3]))
    assert found.shape == (3, 2)
