import numpy as np
import pytest
import torch

from tests.torch_to_tf.elementwise_cases import Elementwise
from util.torch_to_tf import torch_log


class TestLog(Elementwise):
    ours, theirs = staticmethod(torch_log), staticmethod(torch.log)
    points = [*Elementwise.points, 1e-30, 1e30, 0.999999]
    scale = 0.25


def test_log_of_a_negative_number_is_nan():
    assert np.isnan(torch_log(np.float32(-1.0)))
    assert torch_log(np.float32(np.e)).numpy() == pytest.approx(1.0)
