import numpy as np
import torch

from tests.torch_to_tf.likes import WHOLE, LikeFunction, X
from util.torch_to_tf import torch_zeros_like


class TestZerosLike(LikeFunction):
    ours = staticmethod(torch_zeros_like)
    theirs = staticmethod(torch.zeros_like)
    SAME = [
        (X,),
        ({"input": WHOLE},),
        (X, {"dtype": "int64"}),
        (WHOLE, {"dtype": "float16"}),
        (WHOLE, {"dtype": "bool"}),
    ]
    COMPILED = [(X,), (WHOLE, {"dtype": "float32"})]
    REFUSED = [("input must be a tensor, got 1", (1,))]


def test_what_is_not_finite_becomes_zero():
    x = np.array([np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(torch_zeros_like(x), [0.0, 0.0, 0.0])
