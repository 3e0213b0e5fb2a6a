import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.calls import FunctionOfTensor
from util.torch_to_tf import torch_reshape


class TestReshape(FunctionOfTensor):
    ours = staticmethod(torch_reshape)
    theirs = staticmethod(torch.reshape)
    SAME = [
        ((2, 3), (3, 2)),
        ((2, 3), [6]),
        ((2, 3), (-1,)),
        ((2, 3), (2, -1, 1)),
        ((2, 3), {"shape": torch.Size([1, 6])}),
        ((0, 3), (-1, 3)),
        ((0, 3), (5, 0)),
        ((1,), ()),
        ((), ()),
        ((), (-1,)),
    ]
    COMPILED = [((2, 3), (-1, 2))]
    REFUSED = [
        (r"shape must hold 6 entries.*got \[5\]", ((2, 3), (5,))),
        (r"shape must hold 6 entries.*got \[-1, 4\]", ((2, 3), (-1, 4))),
        (r"shape must hold 6 entries.*got \[\]", ((2, 3), ())),
        (r"-1 at most once, got \[-1, -1\]", ((2, 3), (-1, -1))),
        (r"shape\[0\] must be >= -1, got -2", ((2, 3), (-2, 3))),
        ("both 0 and -1", ((0,), (-1, 0))),
        ("both 0 and -1", ((2, 3), (0, -1))),
        ("shape must be a tuple of ints, got 6", ((2, 3), 6)),
        (r"shape\[0\] must be an int, got 2.0", ((2, 3), (2.0, 3))),
    ]
    UNKNOWN = [
        (((2, 3, 4), (-1, 12)), [0], [[None, 12]]),
        (((2, 3, 4), (-1, 2, 4)), [0, 1], [[None, 2, 4]]),
        (((2, 3), (6,)), [0], [[6]]),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_sizes_may_be_tensors_of_one_number(mode):
    def function(x):
        return torch_reshape(x, (tf.shape(x)[0], -1, tf.constant(2, tf.int64)))

    assert in_mode(function, mode)(tf.zeros([3, 4])).shape == (3, 2, 2)


def test_size_tensor_without_a_value_yet_leaves_its_axis_unknown():
    function = tf.function(lambda x, n: torch_reshape(x, (n, 3)))
    specs = tf.TensorSpec([None]), tf.TensorSpec([], tf.int64)
    assert function.get_concrete_function(*specs).outputs[0].shape.as_list() == [
        None,
        3,
    ]
