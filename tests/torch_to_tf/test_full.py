import math

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.created import CreatingFunction
from util.torch_to_tf import torch_full


class TestFull(CreatingFunction):
    ours = staticmethod(torch_full)
    theirs = staticmethod(torch.full)
    SAME = [
        ((2, 3), 3),
        ((2, 3), 3.5),
        ([2], True),
        ((2,), 1 + 2j),
        ((), 3),
        ((0, 2), 3.0),
        ({"size": (2,), "fill_value": 1},),
        ((2,), np.float64(3.5)),
        ((2,), np.int32(3)),
        ((2,), np.array(3, np.int32)),
        ((2,), np.array(3.5, np.float64)),
        ((2,), np.array(True)),
        ((2,), 1.7, {"dtype": "int64"}),
        ((2,), -1.7, {"dtype": "int32"}),
        ((2,), 2, {"dtype": "bool"}),
        ((2,), 0.5, {"dtype": "bool"}),
        ((2,), 0, {"dtype": "bool"}),
        ((2,), -1, {"dtype": "uint8"}),
        ((2,), -2, {"dtype": "int8"}),
        ((2,), 3, {"dtype": "float16"}),
        ((2,), math.inf),
        ((2,), -math.inf, {"dtype": "float16"}),
        ((2,), math.nan),
        ((2,), 1 + 0j, {"dtype": "float32"}),
        ((2,), True, {"dtype": "float64"}),
    ]
    COMPILED = [((2, 3), 3), ((40, 50), 0.5), ((2,), True)]
    REFUSED = [
        ("size must be a tuple of ints, got 2", (2, 3)),
        (r"size\[0\] must be >= 0, got -1", ((-1,), 3)),
        ("fill_value must be a number, got 'a'", ((2,), "a")),
        ("fill_value must be a number, got None", ((2,), None)),
        ("fill_value must be a number, got", ((2,), np.array([3.0]))),
        ("fill_value must fit uint8, got 300", ((2,), 300, {"dtype": "uint8"})),
        ("fill_value must fit uint8, got -300", ((2,), -300, {"dtype": "uint8"})),
        ("fill_value must fit int8, got 200", ((2,), 200, {"dtype": "int8"})),
        ("fill_value must fit int64, got nan", ((2,), math.nan, {"dtype": "int64"})),
        ("fill_value must fit int64, got inf", ((2,), math.inf, {"dtype": "int64"})),
        ("fill_value must fit int64, got 1e", ((2,), 1e30, {"dtype": "int64"})),
        ("fill_value must fit int64, got 92", ((2,), 2**63)),
        ("fill_value must fit float32, got 1e", ((2,), 1e300)),
        ("fill_value must fit float16, got 7", ((2,), 70000, {"dtype": "float16"})),
        ("must be real for float32, got 1j", ((2,), 1j, {"dtype": "float32"})),
    ]
    TRAINED = ((2,), 1.5)
    WHOLE = ((2,), 3)


def test_bfloat16():
    found = torch_full((2,), 1.1, dtype=tf.bfloat16)
    expected = torch.full((2,), 1.1, dtype=torch.bfloat16)
    assert found.dtype == tf.bfloat16
    np.testing.assert_array_equal(tf.cast(found, tf.float32), expected.float())


@pytest.mark.parametrize("mode", MODES)
def test_value_and_sizes_may_be_tensors_of_one_number(mode):
    def function(x, value):
        return torch_full((tf.shape(x)[0], 2), value)

    for value, expected in ((np.float64(2.5), "float32"), (np.int32(2), "int64")):
        found = in_mode(function, mode)(tf.zeros([3]), tf.constant(value))
        assert found.dtype.name == expected
        np.testing.assert_array_equal(found, np.full((3, 2), value))
