import numpy as np
import pytest
import torch

from tests.torch_to_tf.elementwise_cases import Elementwise
from util.torch_to_tf import torch_sqrt


class TestSqrt(Elementwise):
    ours, theirs = staticmethod(torch_sqrt), staticmethod(torch.sqrt)
    points = [*Elementwise.points, 1e-30, 1e30, 4.0]
    scale = 0.25


def test_root_of_a_whole_number_is_a_float():
    assert torch_sqrt(np.int64(2)).numpy() == pytest.approx(np.sqrt(2))
