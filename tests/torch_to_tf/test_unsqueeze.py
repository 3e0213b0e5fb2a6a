import numpy as np
import torch

from tests.torch_to_tf.calls import FunctionOfTensor, typed
from util.torch_to_tf import torch_squeeze, torch_unsqueeze


class TestUnsqueeze(FunctionOfTensor):
    ours = staticmethod(torch_unsqueeze)
    theirs = staticmethod(torch.unsqueeze)
    SAME = [
        *(((2, 3), dim) for dim in range(-3, 3)),
        ((0, 2), {"dim": 1}),
        ((), 0),
        ((), -1),
    ]
    COMPILED = [((2, 3), -2)]
    REFUSED = [
        (r"dim must be in \[-3, 2\].*got 3", ((2, 3), 3)),
        (r"dim must be in \[-3, 2\].*got -4", ((2, 3), -4)),
        (r"dim must be in \[-1, 0\].*got 1", ((), 1)),
        (r"dim must be an int, got \(0, 1\)", ((2, 3), (0, 1))),
        ("dim must be an int, got True", ((2, 3), True)),
    ]
    UNKNOWN = [(((2, 3), 1), [0], [[None, 1, 3]])]


def test_squeezing_gives_the_tensor_back():
    x = typed((1, 3, 1))
    for dim in range(-4, 4):
        np.testing.assert_array_equal(torch_squeeze(torch_unsqueeze(x, dim), dim), x)
