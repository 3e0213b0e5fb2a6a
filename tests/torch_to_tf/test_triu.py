import numpy as np
import torch

from tests.torch_to_tf.calls import FunctionOfTensor
from util.torch_to_tf import torch_triu


class TestTriu(FunctionOfTensor):
    ours = staticmethod(torch_triu)
    theirs = staticmethod(torch.triu)
    SAME = [
        *(((3, 4), diagonal) for diagonal in range(-5, 6)),
        ((3, 3),),
        ((4, 2), 1),
        ((2, 3, 3), {"diagonal": 1}),
        ((2, 1, 3, 2), -1),
        ((0, 3), 1),
        ((3, 0), -1),
        ((0, 3, 3), 0),
    ]
    COMPILED = [((2, 3, 4), 1), ((3, 4), -1), ((3, 4),)]
    REFUSED = [
        ("input must have two axes or more", ((3,),)),
        ("input must have two axes or more", ((),)),
        ("diagonal must be an int, got 1.0", ((2, 2), 1.0)),
        ("diagonal must be an int, got True", ((2, 2), True)),
    ]
    UNKNOWN = [
        (
            ((2, 3, 4), diagonal),
            unknown,
            [[*static, 3 if 1 not in unknown else None, 4]],
        )
        for diagonal in (-1, 0, 1, 5)
        for unknown, static in (([0], [None]), ([1], [2]))
    ] + [(((3, 4), 2), [0, 1], [[None, None]]), (((3, 4), 7), [1], [[3, None]])]


def test_what_is_not_finite_is_blanked_out_too():
    x = np.full((3, 3), np.nan, np.float32)
    x[2] = np.inf
    for diagonal in (-1, 0, 1):
        expected = torch.triu(torch.from_numpy(x), diagonal)
        np.testing.assert_array_equal(torch_triu(x, diagonal), expected)
