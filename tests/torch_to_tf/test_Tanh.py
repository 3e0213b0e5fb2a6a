import numpy as np
import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.activation_cases import (
    assert_half_precision_is_near,
    assert_numbers_are_refused,
)
from tests.torch_to_tf.compare import (
    assert_configurable,
    assert_same_function,
    assert_same_module,
    grid,
)
from util.torch_to_tf import nn_Tanh


@pytest.mark.parametrize("mode", MODES)
def test_values_and_gradients_equal_torch(mode):
    assert_same_module(nn_Tanh(), torch.nn.Tanh(), grid(), mode)


def test_float64_stays_float64():
    assert_same_module(nn_Tanh(), torch.nn.Tanh(), grid().astype(np.float64))


def test_config_round_trip():
    assert_configurable(nn_Tanh())


def test_unknown_keyword_is_refused():
    with pytest.raises(ValueError, match="Unrecognized keyword.*inplace"):
        nn_Tanh(inplace=True)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, bool])
def test_whole_numbers_become_float32(dtype):
    x = np.array([0, 1, 3]).astype(dtype)
    assert_same_function(nn_Tanh(), torch.nn.Tanh(), [x])


def test_numbers_are_refused():
    assert_numbers_are_refused(nn_Tanh(), torch.nn.Tanh())


def test_half_precision_equals_torch():
    assert_half_precision_is_near(nn_Tanh(), torch.nn.Tanh())
