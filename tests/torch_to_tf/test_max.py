import numpy as np
import torch

from tests.torch_to_tf.extreme_cases import Extremes
from util.torch_to_tf import torch_max


class TestMax(Extremes):
    ours, theirs = staticmethod(torch_max), staticmethod(torch.max)


def test_hand_worked_max():
    x = np.array([[4, 9, 2], [8, 1, 6]])
    assert torch_max(x).numpy() == 9
    values, indices = torch_max(x, 0)
    np.testing.assert_array_equal(values, [8, 9, 6])
    np.testing.assert_array_equal(indices, [1, 0, 1])
    np.testing.assert_array_equal(torch_max(x[0], x[1]), [8, 9, 6])
