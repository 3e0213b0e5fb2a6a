import numpy as np
import pytest
import torch

from tests.torch_to_tf.elementwise_cases import Elementwise
from util.torch_to_tf import torch_exp


class TestExp(Elementwise):
    ours, theirs = staticmethod(torch_exp), staticmethod(torch.exp)
    points = [*Elementwise.points, 88.0, 89.0, -104.0]
    scale = 0.25


def test_inverse_of_exp_is_log():
    assert torch_exp(np.log(np.float32([2.0, 5.0]))).numpy() == pytest.approx([2, 5])
