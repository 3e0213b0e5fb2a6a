import numpy as np
import pytest
import torch

from tests.torch_to_tf.compare import assert_both_refuse
from tests.torch_to_tf.init_cases import (
    assert_fills_variables_of_floats,
    assert_follows_seed_and_generator,
    assert_refuses_few_axes,
    assert_refuses_what_is_no_variable,
    assert_refuses_whole_numbers,
    assert_uniform,
    filled,
)
from util.torch_to_tf import torch_nn_init_kaiming_uniform_

theirs = torch.nn.init.kaiming_uniform_
NONLINEARITIES = ["linear", "conv2d", "conv_transpose3d", "sigmoid", "tanh", "relu"]
NONLINEARITIES += ["leaky_relu", "selu"]


@pytest.mark.parametrize(
    ("shape", "fan_in", "fan_out"), [((150, 90), 90, 150), ((40, 10, 3, 9), 270, 1080)]
)
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "FAN_OUT"])
def test_values_are_uniform_within_the_bounds_of_torch(shape, fan_in, fan_out, mode):
    bound = np.sqrt(6.0 / (fan_in if mode == "fan_in" else fan_out))
    assert_uniform(filled(torch_nn_init_kaiming_uniform_, shape, mode=mode), bound)
    assert_uniform(theirs(torch.empty(shape), mode=mode).numpy(), bound)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("a", [0, 0.5, -2, None])
def test_gain_is_that_of_torch(a, nonlinearity):
    gain = 0.01 if a is None else a
    if nonlinearity == "leaky_relu":
        gain = np.sqrt(2.0 / (1.0 + gain**2))
    else:
        gain = torch.nn.init.calculate_gain(nonlinearity)
    options = {"a": a, "nonlinearity": nonlinearity}
    bound = gain * np.sqrt(3.0 / 100)
    assert_uniform(filled(torch_nn_init_kaiming_uniform_, (200, 100), **options), bound)
    assert_uniform(theirs(torch.empty(200, 100), **options).numpy(), bound)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,)])
def test_no_entries_stay_none_with_a_warning_as_in_torch(shape):
    with pytest.warns(UserWarning, match=r"no entries: shape \(.*0.*\)"):
        assert filled(torch_nn_init_kaiming_uniform_, shape).shape == shape
    with pytest.warns(UserWarning, match="zero-element"):
        assert theirs(torch.zeros(shape)).shape == shape


def test_variables_of_all_kinds_are_filled():
    assert_fills_variables_of_floats(torch_nn_init_kaiming_uniform_)


def test_values_follow_the_seed_and_the_generator():
    assert_follows_seed_and_generator(torch_nn_init_kaiming_uniform_)


def test_what_cannot_be_filled_is_refused():
    assert_refuses_what_is_no_variable(torch_nn_init_kaiming_uniform_)
    assert_refuses_whole_numbers(torch_nn_init_kaiming_uniform_, theirs)
    assert_refuses_few_axes(torch_nn_init_kaiming_uniform_, theirs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "fan_avg"}, "mode must be one of .* got 'fan_avg'"),
        ({"nonlinearity": "gelu"}, "nonlinearity must be one of .* got 'gelu'"),
        ({"a": True}, "a must be a number, got True"),
        ({"a": "0"}, "a must be a number, got '0'"),
    ],
)
def test_impossible_options_are_refused(options, message):
    assert_both_refuse(
        lambda: filled(torch_nn_init_kaiming_uniform_, (2, 2), **options),
        lambda: theirs(torch.zeros(2, 2), **options),
        message,
    )
