import numpy as np
import torch

from tests.torch_to_tf.calls import FunctionOfTensor, typed
from util.torch_to_tf import torch_tensor_permute


class TestPermute(FunctionOfTensor):
    ours = staticmethod(torch_tensor_permute)
    theirs = staticmethod(torch.Tensor.permute)
    SAME = [
        ((2, 3), 1, 0),
        ((2, 3), (1, 0)),
        ((2, 3), [-1, 0]),
        ((2, 3), {"dims": (1, 0)}),
        ((2, 3, 4), 2, 0, 1),
        ((2, 3, 4), (0, 1, 2)),
        ((2, 0, 4, 1), -1, 1, -2, 0),
        ((3,), 0),
        ((), ()),
    ]
    COMPILED = [((2, 3, 4), 2, 0, -2)]
    REFUSED = [
        ("each of 2 axes", ((2, 3), 1)),
        ("each of 0 axes", ((), 0)),
        ("each axis once", ((2, 3), 1, 1)),
        ("each axis once", ((2, 3), 1, -1)),
        (r"dims must be in \[-2, 1\].*got 2", ((2, 3), 1, 2)),
        ("dims must be an int, got 1.0", ((2, 3), 1.0, 0)),
        ("dims must be given once", ((2, 3),)),
    ]
    UNKNOWN = [(((2, 3, 4), 2, 0, 1), [0], [[4, None, 3]])]


def test_the_inverse_order_gives_the_tensor_back():
    x = typed((2, 3, 4, 5))
    order = (2, 0, 3, 1)
    there = torch_tensor_permute(x, order)
    back = torch_tensor_permute(there, tuple(np.argsort(order)))
    np.testing.assert_array_equal(back, x)
