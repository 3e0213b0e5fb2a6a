import numpy as np
import tensorflow as tf
import torch

from tests.torch_to_tf.likes import WHOLE, LikeFunction, X
from util.torch_to_tf import torch_full_like


class TestFullLike(LikeFunction):
    ours = staticmethod(torch_full_like)
    theirs = staticmethod(torch.full_like)
    FILL = (2,)
    SAME = [
        (X, 2),
        (WHOLE, 1.5),
        (WHOLE, -1.5),
        (WHOLE, True),
        (WHOLE, 2, {"dtype": "float64"}),
        (X, np.array(2)),
        ({"input": X, "fill_value": 0.5},),
    ]
    COMPILED = [(X, 2), (WHOLE, 1.5)]
    REFUSED = [
        ("fill_value must fit int64, got 1e", (WHOLE, 1e30)),
        ("fill_value must be a number, got 'a'", (X, "a")),
        ("fill_value must fit uint8, got 256", (X, 256, {"dtype": "uint8"})),
    ]
    TRAINED = (X, 1.5)
    WHOLE = (WHOLE, 1)


def test_value_may_be_a_tensor_without_a_value_yet():
    traced = tf.function(lambda x, value: torch_full_like(x, value))
    found = traced(tf.constant([1, 2]), tf.constant(2.7))
    assert found.dtype == tf.int32
    np.testing.assert_array_equal(found, [2, 2])
