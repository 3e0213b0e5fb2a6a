import numpy as np
import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_configurable, assert_same_module, grid
from util.torch_to_tf import nn_Identity


@pytest.mark.parametrize("mode", MODES)
def test_values_and_gradients_equal_torch(mode):
    assert_same_module(nn_Identity(), torch.nn.Identity(), grid(), mode)


def test_float64_stays_float64():
    assert_same_module(nn_Identity(), torch.nn.Identity(), grid().astype(np.float64))


def test_config_round_trip():
    assert_configurable(nn_Identity())


def test_constructor_arguments_are_ignored_as_in_torch():
    module = nn_Identity(54, unused_argument1=0.1, unused_argument2=False)
    torch.nn.Identity(54, unused_argument1=0.1, unused_argument2=False)
    assert_same_module(module, torch.nn.Identity(), grid())
    assert_configurable(module)
