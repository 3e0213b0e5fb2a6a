import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.init_cases import assert_refuses_what_is_no_variable, filled
from util.torch_to_tf import torch_nn_init_ones_


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 2)])
def test_any_number_of_axes_is_filled_as_in_torch(shape):
    expected = torch.nn.init.ones_(torch.full(shape, 7.0))
    np.testing.assert_array_equal(filled(torch_nn_init_ones_, shape), expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64", "int64", "bool", "complex64"])
def test_variables_of_all_types_are_filled(dtype):
    variable = tf.Variable(tf.cast([3, 0], dtype))
    assert torch_nn_init_ones_(variable) is variable
    np.testing.assert_array_equal(tf.cast(variable, tf.float32), [1.0, 1.0])


@pytest.mark.parametrize("mode", MODES)
def test_compiled_code_fills_too(mode):
    variable = tf.Variable([3.0, 5.0])
    in_mode(lambda: tf.identity(torch_nn_init_ones_(variable)), mode)()
    np.testing.assert_array_equal(variable, [1.0, 1.0])


def test_what_is_no_variable_is_refused():
    assert_refuses_what_is_no_variable(torch_nn_init_ones_)
