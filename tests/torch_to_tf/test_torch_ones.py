import numpy as np
import tensorflow as tf
import torch

from tests.torch_to_tf.created import CreatingFunction
from util.torch_to_tf import torch_ones


class TestOnes(CreatingFunction):
    ours = staticmethod(torch_ones)
    theirs = staticmethod(torch.ones)
    SAME = [
        (2, 3),
        ([2, 3],),
        ({"size": (2,)},),
        ((),),
        (0, 2),
        (40, 50),
        *((2, {"dtype": d}) for d in ("float64", "float16", "int32", "int8", "bool")),
    ]
    COMPILED = [(2, 3), (40, 50)]
    REFUSED = [
        ("size must be given once", ()),
        (r"size\[1\] must be >= 0, got -2", (2, -2)),
        (r"size\[0\] must be an int, got 2.0", (2.0,)),
    ]
    TRAINED = ((3,),)
    WHOLE = (2, {"dtype": "int32"})


def test_sizes_may_be_tensors_of_one_number():
    traced = tf.function(lambda x: torch_ones(tf.shape(x)[0], 2))
    np.testing.assert_array_equal(traced(tf.zeros([3])), np.ones([3, 2]))
