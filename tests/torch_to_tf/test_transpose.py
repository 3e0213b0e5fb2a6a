import tensorflow as tf
import torch

from tests.torch_to_tf.calls import FunctionOfTensor
from util.torch_to_tf import torch_tensor_transpose


class TestTranspose(FunctionOfTensor):
    ours = staticmethod(torch_tensor_transpose)
    theirs = staticmethod(torch.Tensor.transpose)
    SAME = [
        ((2, 3), 0, 1),
        ((2, 3), -1, 0),
        ((2, 3), 1, -1),
        ((2, 3, 4), 0, 2),
        ((2, 3, 4), {"dim0": 1, "dim1": -3}),
        ((2, 0, 4), 0, 1),
        ((3,), 0, -1),
        ((), 0, -1),
    ]
    COMPILED = [((2, 3, 4), 0, 2)]
    REFUSED = [
        (r"dim1 must be in \[-2, 1\] for 2 axes, got 2", ((2, 3), 0, 2)),
        (r"dim0 must be in \[-2, 1\] for 2 axes, got -3", ((2, 3), -3, 0)),
        (r"dim1 must be in \[-1, 0\] for 0 axes, got 1", ((), 0, 1)),
        ("dim0 must be an int, got 0.0", ((2, 3), 0.0, 1)),
    ]
    UNKNOWN = [
        (((2, 3, 4), 0, 1), [0], [[3, None, 4]]),
        (((2, 3, 4), 1, 1), [0, 2], [[None, 3, None]]),
    ]


def test_one_axis_twice_gives_the_tensor_itself():
    x = tf.ones([2, 3])
    assert torch_tensor_transpose(x, 1, -1) is x
