import numpy as np
import torch

from tests.torch_to_tf.calls import FunctionOfTensor, typed
from util.torch_to_tf import torch_flip


class TestFlip(FunctionOfTensor):
    ours = staticmethod(torch_flip)
    theirs = staticmethod(torch.flip)
    SAME = [
        ((2, 3), (0,)),
        ((2, 3), [0, -1]),
        ((2, 3), {"dims": (1,)}),
        ((2, 3), ()),
        ((2, 0), (1,)),
        ((2, 3, 4), (-1, 0)),
        ((), (0,)),
        ((), ()),
    ]
    COMPILED = [((2, 3, 4), (-1, 0))]
    REFUSED = [
        ("dims must be a tuple of ints, got 0", ((2, 3), 0)),
        ("dims must name each axis once", ((2, 3), (0, 0))),
        ("dims must name each axis once", ((2, 3), (0, -2))),
        (r"dims must be in \[-2, 1\].*got 2", ((2, 3), (2,))),
        ("dims must be an int, got 0.0", ((2, 3), (0.0,))),
    ]
    UNKNOWN = [(((2, 3), (0,)), [0], [[None, 3]])]


def test_twice_gives_the_tensor_back():
    x = typed((2, 3, 4))
    np.testing.assert_array_equal(torch_flip(torch_flip(x, (0, 2)), (2, 0)), x)
