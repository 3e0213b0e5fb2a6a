import numpy as np
import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.activation_cases import (
    assert_half_precision_is_near,
    assert_numbers_are_refused,
    assert_types_are_refused,
)
from tests.torch_to_tf.compare import (
    assert_configurable,
    assert_same_function,
    assert_same_module,
    grid,
)
from util.torch_to_tf import nn_ReLU


@pytest.mark.parametrize("mode", MODES)
def test_values_and_gradients_equal_torch(mode):
    assert_same_module(nn_ReLU(), torch.nn.ReLU(), grid(), mode)


def test_float64_stays_float64():
    assert_same_module(nn_ReLU(), torch.nn.ReLU(), grid().astype(np.float64))


def test_config_round_trip():
    assert_configurable(nn_ReLU())


def test_input_is_not_changed_with_inplace():
    module, x = nn_ReLU(inplace=True), grid()
    module(x)
    np.testing.assert_array_equal(x, grid())
    assert_configurable(module)


def test_unknown_keyword_is_refused():
    with pytest.raises(ValueError, match="Unrecognized keyword.*beta"):
        nn_ReLU(beta=2.0)


def test_what_holds_no_numbers_is_refused():
    assert_numbers_are_refused(nn_ReLU(), torch.nn.ReLU())
    assert_types_are_refused(nn_ReLU(), torch.nn.ReLU(), bool)


def test_half_precision_equals_torch():
    assert_half_precision_is_near(nn_ReLU(), torch.nn.ReLU())


def test_whole_numbers_stay_whole():
    assert_same_function(nn_ReLU(), torch.nn.ReLU(), [np.array([-2, 0, 3])])
