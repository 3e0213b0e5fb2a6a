import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_same_function
from tests.torch_to_tf.elementwise_cases import Elementwise
from util.torch_to_tf import torch_tanh

NEAR_SATURATION = np.linspace(-9, 9, 201, dtype=np.float32)


class TestTanh(Elementwise):
    ours, theirs = staticmethod(torch_tanh), staticmethod(torch.tanh)


@pytest.mark.parametrize("mode", MODES)
def test_tanh_is_correctly_rounded(mode):
    expected = np.tanh(NEAR_SATURATION.astype(np.float64)).astype(np.float32)
    actual = in_mode(torch_tanh, mode)(tf.constant(NEAR_SATURATION))
    np.testing.assert_array_equal(actual, expected)


def test_tanh_and_its_gradient_equal_torch_near_saturation():
    assert_same_function(torch_tanh, torch.tanh, [NEAR_SATURATION], atol=2.4e-7)


def test_complex_numbers_keep_their_imaginary_part():
    x = np.array([1 + 2j, -0.5j], np.complex64)
    np.testing.assert_allclose(
        torch_tanh(x), torch.tanh(torch.from_numpy(x)), rtol=1e-5
    )
