import numpy as np
import torch

from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function
from tests.torch_to_tf.elementwise_cases import WHOLE, Elementwise
from util.torch_to_tf import torch_abs


class TestAbs(Elementwise):
    ours, theirs = staticmethod(torch_abs), staticmethod(torch.abs)
    whole = WHOLE[1:]


def test_least_integer_stays_as_in_torch():
    x = np.array([-(2**31), -5, 5], np.int32)
    assert_same_function(torch_abs, torch.abs, [x])


def test_complex_numbers_have_real_sizes():
    x = np.array([3 + 4j, -2j, 0], np.complex64)
    np.testing.assert_allclose(torch_abs(x), torch.abs(torch.from_numpy(x)))


def test_booleans_are_refused():
    x = np.array([True])
    assert_both_refuse(
        lambda: torch_abs(x), lambda: torch.abs(torch.from_numpy(x)), "input must have"
    )
