import numpy as np
import torch

from tests.torch_to_tf.likes import WHOLE, LikeFunction, X
from util.torch_to_tf import torch_ones_like


class TestOnesLike(LikeFunction):
    ours = staticmethod(torch_ones_like)
    theirs = staticmethod(torch.ones_like)
    SAME = [
        (X,),
        ({"input": WHOLE},),
        (X, {"dtype": "uint8"}),
        (WHOLE, {"dtype": "float64"}),
        (X, {"dtype": "bool"}),
    ]
    COMPILED = [(X,), (WHOLE, {"dtype": "float32"})]
    REFUSED = [("input must be a tensor, got None", (None,))]


def test_what_is_not_finite_becomes_one():
    x = np.array([np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(torch_ones_like(x), [1.0, 1.0, 1.0])
