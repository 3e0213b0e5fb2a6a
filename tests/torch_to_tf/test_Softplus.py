import numpy as np
import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.activation_cases import (
    WHOLE,
    assert_half_precision_is_near,
    assert_numbers_are_refused,
    assert_types_are_refused,
)
from tests.torch_to_tf.compare import assert_configurable, assert_same_module, grid
from util.torch_to_tf import nn_Softplus


@pytest.mark.parametrize("mode", MODES)
def test_values_and_gradients_equal_torch(mode):
    assert_same_module(nn_Softplus(), torch.nn.Softplus(), grid(), mode)


@pytest.mark.parametrize("mode", MODES[:2])
def test_linear_from_the_threshold_on(mode):
    # Linear above 1, far below where softplus and identity agree.
    ours, theirs = nn_Softplus(2.0, 2.0), torch.nn.Softplus(2.0, 2.0)
    assert_same_module(ours, theirs, grid(), mode)


def test_float64_stays_float64():
    assert_same_module(nn_Softplus(), torch.nn.Softplus(), grid().astype(np.float64))


def test_config_round_trip():
    assert_configurable(nn_Softplus(beta=2.0, threshold=3.0))


def test_what_holds_no_floating_numbers_is_refused():
    assert_numbers_are_refused(nn_Softplus(), torch.nn.Softplus())
    assert_types_are_refused(nn_Softplus(), torch.nn.Softplus(), *WHOLE)


def test_half_precision_equals_torch():
    assert_half_precision_is_near(nn_Softplus(), torch.nn.Softplus())
