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
from util.torch_to_tf import nn_GELU

KINDS = ("none", "tanh")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_equal_torch(kind, mode):
    assert_same_module(nn_GELU(kind), torch.nn.GELU(kind), grid(), mode)


@pytest.mark.parametrize("mode", MODES)
def test_second_gradient_equals_torch(mode):
    x = np.linspace(-40.0, 40.0, 241)
    assert_same_second_gradient(nn_GELU(), torch.nn.GELU(), x, mode)


@pytest.mark.parametrize("kind", KINDS)
def test_float64_stays_float64(kind):
    assert_same_module(nn_GELU(kind), torch.nn.GELU(kind), grid().astype(np.float64))


def test_config_round_trip():
    assert_configurable(nn_GELU(approximate="tanh"))


def test_unknown_approximation_is_refused():
    with pytest.raises(ValueError, match="approximate must be .* got 'erf'"):
        nn_GELU("erf")


def test_what_holds_no_floating_numbers_is_refused():
    assert_numbers_are_refused(nn_GELU(), torch.nn.GELU())
    assert_types_are_refused(nn_GELU(), torch.nn.GELU(), *WHOLE)


def test_half_precision_equals_torch():
    assert_half_precision_is_near(nn_GELU(), torch.nn.GELU())
