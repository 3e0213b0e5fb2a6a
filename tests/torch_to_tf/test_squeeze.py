import pytest
import tensorflow as tf
import torch

from tests.torch_to_tf.calls import FunctionOfTensor
from util.torch_to_tf import torch_squeeze


class TestSqueeze(FunctionOfTensor):
    ours = staticmethod(torch_squeeze)
    theirs = staticmethod(torch.squeeze)
    SAME = [
        ((1, 2, 1),),
        ((2, 3),),
        ((1, 1),),
        ((1, 0, 1),),
        ((),),
        *(((1, 2, 1), dim) for dim in range(-3, 3)),
        ((1, 2, 1), {"dim": 0}),
        ((1, 2, 1), (0, 1)),
        ((1, 2, 1), [-1, 0]),
        ((1, 2, 1), ()),
        ((), 0),
        ((), (-1,)),
    ]
    COMPILED = [((1, 2, 1), (0, 1)), ((1, 2, 1),)]
    REFUSED = [
        (r"dim must be in \[-3, 2\].*got 3", ((1, 2, 1), 3)),
        (r"dim must be in \[-1, 0\].*got 1", ((), 1)),
        ("dim must name each axis once", ((1, 2, 1), (0, -3))),
        ("dim must name each axis once", ((), (0, -1))),
        ("dim must be a tuple of ints, got 0.0", ((1, 2), 0.0)),
        ("dim must be a tuple of ints, got True", ((1, 2), True)),
        ("dim must be an int, got 0.5", ((1, 2), (0.5,))),
    ]
    UNKNOWN = [
        (((2, 1, 3), 1), [0, 2], [[None, None]]),
        (((1, 2, 1), 0), [0], [[2, 1]]),
        (((2, 3, 1), (1, 2)), [0], [[None, 3]]),
    ]


def test_axis_of_unknown_size_must_be_1():
    traced = tf.function(
        lambda x: torch_squeeze(x, 0), input_signature=[tf.TensorSpec([None, 3])]
    )
    assert traced(tf.zeros([1, 3])).shape == (3,)
    with pytest.raises(tf.errors.InvalidArgumentError, match="dimension of 1, got 2"):
        traced(tf.zeros([2, 3]))


def test_without_an_axis_unknown_sizes_decide_when_it_runs():
    traced = tf.function(torch_squeeze, input_signature=[tf.TensorSpec([None, 1])])
    assert traced(tf.zeros([1, 1])).shape == ()
    assert traced(tf.zeros([2, 1])).shape == (2,)
