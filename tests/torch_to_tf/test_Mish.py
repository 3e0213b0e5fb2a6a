import numpy as np
import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.activation_cases import (
    WHOLE,
    assert_half_precision_is_near,
    assert_numbers_are_refused,
    assert_same_second_gradient,
    assert_types_are_refused,
)
from tests.torch_to_tf.compare import assert_configurable, assert_same_module, grid
from util.torch_to_tf import nn_Mish


@pytest.mark.parametrize("mode", MODES)
def test_values_and_gradients_equal_torch(mode):
    assert_same_module(nn_Mish(), torch.nn.Mish(), grid(), mode)


def test_float64_stays_float64():
    assert_same_module(nn_Mish(), torch.nn.Mish(), grid().astype(np.float64))


def test_config_round_trip():
    assert_configurable(nn_Mish())


def test_input_is_not_changed_with_inplace():
    module, x = nn_Mish(inplace=True), grid()
    module(x)
    np.testing.assert_array_equal(x, grid())
    assert_configurable(module)


def test_unknown_keyword_is_refused():
    with pytest.raises(ValueError, match="Unrecognized keyword.*beta"):
        nn_Mish(beta=2.0)


@pytest.mark.parametrize("mode", MODES)
def test_second_gradient_equals_torch(mode):
    x = np.linspace(-60.0, 60.0, 241)
    assert_same_second_gradient(nn_Mish(), torch.nn.Mish(), x, mode)


def test_no_overflow_in_float32():
    x = np.array([-3e38, -200.0, 200.0, 3e38], np.float32)
    np.testing.assert_array_equal(nn_Mish()(x), [0.0, 0.0, 200.0, np.float32(3e38)])


def test_what_holds_no_floating_numbers_is_refused():
    assert_numbers_are_refused(nn_Mish(), torch.nn.Mish())
    assert_types_are_refused(nn_Mish(), torch.nn.Mish(), *WHOLE)


def test_half_precision_equals_torch():
    assert_half_precision_is_near(nn_Mish(), torch.nn.Mish())
