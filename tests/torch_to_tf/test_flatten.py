import tensorflow as tf
import torch

from tests.torch_to_tf.calls import FunctionOfTensor
from util.torch_to_tf import torch_flatten


class TestFlatten(FunctionOfTensor):
    ours = staticmethod(torch_flatten)
    theirs = staticmethod(torch.flatten)
    SAME = [
        ((2, 3, 4),),
        ((2, 3, 4), 1),
        ((2, 3, 4), 0, 1),
        ((2, 3, 4), -2, -1),
        ((2, 3, 4), {"start_dim": 1, "end_dim": 1}),
        ((2, 0, 3), 1),
        ((2, 0, 3), 0, 1),
        ((3,),),
        ((),),
        ((), -1, 0),
    ]
    COMPILED = [((2, 3, 4), 1)]
    REFUSED = [
        ("start_dim must be <= end_dim, got 1, 0", ((2, 3), 1, 0)),
        ("start_dim must be <= end_dim, got -1, -2", ((2, 3), -1, -2)),
        (r"start_dim must be in \[-2, 1\].*got 5", ((2, 3), 5)),
        (r"end_dim must be in \[-2, 1\].*got -3", ((2, 3), 0, -3)),
        (r"end_dim must be in \[-1, 0\].*got 1", ((), 0, 1)),
        ("start_dim must be an int, got 1.0", ((2, 3), 1.0)),
    ]
    UNKNOWN = [
        (((2, 3, 4), 1), [0], [[None, 12]]),
        (((2, 3, 4), 0, 1), [0], [[None, 4]]),
        (((2, 3, 4), 0, 1), [0, 2], [[None, None]]),
        (((2, 3, 4, 5), 1, 2), [0, 3], [[None, 12, None]]),
        (((2, 0, 4), 1), [0], [[None, 0]]),
        (((2, 0, 4), 1), [0, 2], [[None, 0]]),
        (((2, 3), 1), [0, 1], [[None, None]]),
    ]


def test_one_axis_gives_the_tensor_itself():
    x = tf.ones([2, 3])
    assert torch_flatten(x, 1) is x
