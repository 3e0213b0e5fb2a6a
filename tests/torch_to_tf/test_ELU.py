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
from util.torch_to_tf import nn_ELU


@pytest.mark.parametrize("mode", MODES)
def test_values_and_gradients_equal_torch(mode):
    assert_same_module(nn_ELU(), torch.nn.ELU(), grid(), mode)


@pytest.mark.parametrize("mode", MODES[:2])
def test_slope_below_zero_may_differ_from_one(mode):
    assert_same_module(nn_ELU(0.3), torch.nn.ELU(0.3), grid(), mode)


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_float64_stays_float64(alpha):
    assert_same_module(nn_ELU(alpha), torch.nn.ELU(alpha), grid().astype(np.float64))


def test_config_round_trip():
    assert_configurable(nn_ELU(0.3, inplace=True))
    assert nn_ELU.from_config(nn_ELU(0.3).get_config()).alpha == 0.3


def test_what_holds_no_floating_numbers_is_refused():
    assert_numbers_are_refused(nn_ELU(), torch.nn.ELU())
    assert_types_are_refused(nn_ELU(), torch.nn.ELU(), *WHOLE)


def test_half_precision_equals_torch():
    assert_half_precision_is_near(nn_ELU(), torch.nn.ELU())
