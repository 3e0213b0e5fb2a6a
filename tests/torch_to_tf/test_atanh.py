import numpy as np
import pytest
import torch

from tests.torch_to_tf.elementwise_cases import Elementwise
from util.torch_to_tf import torch_atanh


class TestAtanh(Elementwise):
    ours, theirs = staticmethod(torch_atanh), staticmethod(torch.atanh)
    points = [*Elementwise.points, 0.5, -0.999999, 2.0, 1e-6]
    scale = 0.05


def test_inverse_of_atanh_is_tanh():
    x = np.float32([-0.9, 0.1, 0.5])
    assert np.tanh(torch_atanh(x)) == pytest.approx(x)
