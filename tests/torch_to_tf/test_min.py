import numpy as np
import torch

from tests.torch_to_tf.extreme_cases import Extremes
from util.torch_to_tf import torch_min


class TestMin(Extremes):
    ours, theirs = staticmethod(torch_min), staticmethod(torch.min)


def test_hand_worked_min():
    x = np.array([[4, 9, 2], [8, 1, 6]])
    assert torch_min(x).numpy() == 1
    values, indices = torch_min(x, 0)
    np.testing.assert_array_equal(values, [4, 1, 2])
    np.testing.assert_array_equal(indices, [0, 1, 0])
    np.testing.assert_array_equal(torch_min(x[0], x[1]), [4, 1, 2])
