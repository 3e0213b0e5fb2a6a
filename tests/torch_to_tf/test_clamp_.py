import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse, random
from util.torch_to_tf import nn_Parameter, torch_tensor_clamp_

VALUES = random((3, 4))


@pytest.mark.parametrize("kind", [tf.Variable, keras.Variable, nn_Parameter])
@pytest.mark.parametrize("bounds", [{"min": -0.2}, {"max": 0.3}, {"min": 1, "max": 0}])
def test_variable_is_limited_in_place_and_returned(kind, bounds):
    variable, theirs = kind(VALUES), torch.from_numpy(VALUES.copy())
    assert torch_tensor_clamp_(variable, **bounds) is variable
    np.testing.assert_array_equal(variable.numpy(), theirs.clamp_(**bounds).numpy())


def test_tensors_as_bounds_equal_torch():
    low = random((4,), 1).astype(np.float64)
    variable, theirs = tf.Variable(VALUES), torch.from_numpy(VALUES.copy())
    torch_tensor_clamp_(variable, low, low + 0.5)
    theirs.clamp_(torch.from_numpy(low), torch.from_numpy(low + 0.5))
    np.testing.assert_allclose(variable, theirs.numpy(), rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_variable_is_limited_whenever_the_function_runs(mode):
    variable = tf.Variable([5.0, -5.0])

    def step():
        variable.assign_add([1.0, 1.0])
        return torch_tensor_clamp_(variable, -1.0, 1.0) + 0.0

    function = in_mode(step, mode)
    for expected in ([1.0, -1.0], [1.0, 0.0], [1.0, 1.0]):
        np.testing.assert_array_equal(function(), expected)


def test_tensor_is_refused():
    with pytest.raises(TypeError, match="input must be a variable"):
        torch_tensor_clamp_(tf.zeros([2]), 0.0)


@pytest.mark.parametrize(
    ("values", "low", "match"),
    [
        (np.array([1, 2]), 0.5, "a type that int64 can hold, got float32"),
        (np.zeros(2), np.zeros((3, 1)), r"to the shape \(2,\) of input"),
        (np.zeros(2), None, "at least one of min and max"),
    ],
)
def test_what_does_not_fit_the_variable_is_refused(values, low, match):
    theirs = torch.from_numpy(low) if isinstance(low, np.ndarray) else low
    assert_both_refuse(
        lambda: torch_tensor_clamp_(tf.Variable(values), low),
        lambda: torch.from_numpy(values.copy()).clamp_(theirs),
        match,
    )
