import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.activation_cases import (
    WHOLE,
    assert_half_precision_is_near,
    assert_numbers_are_refused,
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
    leaf = torch.tensor(x, requires_grad=True)
    value = torch.nn.functional.mish(leaf).sum()
    (first,) = torch.autograd.grad(value, leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), leaf)
    module = nn_Mish()

    def differentiate(v):
        with tf.GradientTape() as outer:
            outer.watch(v)
            with tf.GradientTape() as inner:
                inner.watch(v)
                y = module(v)
            dy = inner.gradient(y, v)
        return dy, outer.gradient(dy, v)

    got = in_mode(differentiate, mode)(tf.constant(x))
    np.testing.assert_allclose(got[0], first.detach(), atol=1e-12)
    np.testing.assert_allclose(got[1], second, atol=1e-12)


def test_no_overflow_in_float32():
    x = np.array([-3e38, -200.0, 200.0, 3e38], np.float32)
    np.testing.assert_array_equal(nn_Mish()(x), [0.0, 0.0, 200.0, np.float32(3e38)])


def test_what_holds_no_floating_numbers_is_refused():
    assert_numbers_are_refused(nn_Mish(), torch.nn.Mish())
    assert_types_are_refused(nn_Mish(), torch.nn.Mish(), *WHOLE)


def test_half_precision_equals_torch():
    assert_half_precision_is_near(nn_Mish(), torch.nn.Mish())
