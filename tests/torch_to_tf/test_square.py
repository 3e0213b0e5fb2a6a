import numpy as np
import torch

from tests.torch_to_tf.compare import assert_same_function
from tests.torch_to_tf.elementwise_cases import Elementwise
from util.torch_to_tf import torch_square


class TestSquare(Elementwise):
    ours, theirs = staticmethod(torch_square), staticmethod(torch.square)


def test_whole_numbers_overflow_as_in_torch():
    x = np.array([20, 15, -128], np.int8)
    assert_same_function(torch_square, torch.square, [x])
