import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.calls import FunctionOfTensor
from util.torch_to_tf import torch_tensor_repeat


class TestRepeat(FunctionOfTensor):
    ours = staticmethod(torch_tensor_repeat)
    theirs = staticmethod(torch.Tensor.repeat)
    SAME = [
        ((2, 3), 2, 2),
        ((2, 3), (1, 2)),
        ((2, 3), {"repeats": [4, 2, 1]}),
        ((3,), 2, 1, 3),
        ((2, 3), 0, 1),
        ((0, 3), 2, 2),
        ((0, 3), 2, 2, 2),
        ((), 3),
        ((), 2, 2),
        ((), ()),
    ]
    COMPILED = [((2, 3), 2, 1, 3)]
    REFUSED = [
        ("repeats must have 2 entries or more", ((2, 3), 2)),
        (r"repeats\[0\] must be >= 0, got -1", ((2, 3), -1, 1)),
        ("repeats must be given once", ((2, 3),)),
        (r"repeats\[0\] must be an int, got 1.0", ((2, 3), 1.0, 1)),
    ]
    UNKNOWN = [
        (((2, 3), 1, 2), [0], [[None, 6]]),
        (((2, 3), 2, 1, 2), [0], [[2, None, 6]]),
        (((2, 3), 2, 1, 2), [0, 1], [[2, None, None]]),
        (((2, 0, 3), 2, 1, 1, 2), [0], [[2, None, 0, 6]]),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_counts_may_be_tensors_of_one_number(mode):
    def function(x, y):
        return torch_tensor_repeat(x, tf.shape(y)[0], 1)

    assert in_mode(function, mode)(tf.ones([2]), tf.zeros([3])).shape == (3, 2)
