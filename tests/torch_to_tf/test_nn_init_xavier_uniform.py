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
from util.torch_to_tf import torch_nn_init_xavier_uniform_

theirs = torch.nn.init.xavier_uniform_


@pytest.mark.parametrize(
    ("shape", "fans"),
    [((150, 90), 240), ((40, 10, 3, 9), 50 * 27), ((200, 2, 50), 10100)],
)
@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_values_are_uniform_within_the_bounds_of_torch(shape, fans, gain):
    bound = gain * np.sqrt(6.0 / fans)
    values = filled(torch_nn_init_xavier_uniform_, shape, gain=gain)
    assert_uniform(values, bound)
    assert_uniform(theirs(torch.empty(shape), gain).numpy(), bound)


def test_no_gain_gives_zeros_as_in_torch():
    values = filled(torch_nn_init_xavier_uniform_, (2, 3), gain=0.0)
    np.testing.assert_array_equal(values, theirs(torch.ones(2, 3), 0.0))


def test_no_entries_stay_none():
    assert filled(torch_nn_init_xavier_uniform_, (0, 3)).shape == (0, 3)
    assert theirs(torch.zeros(0, 3)).shape == (0, 3)


def test_variables_of_all_kinds_are_filled():
    assert_fills_variables_of_floats(torch_nn_init_xavier_uniform_)


def test_values_follow_the_seed_and_the_generator():
    assert_follows_seed_and_generator(torch_nn_init_xavier_uniform_)


def test_what_cannot_be_filled_is_refused():
    assert_refuses_what_is_no_variable(torch_nn_init_xavier_uniform_)
    assert_refuses_whole_numbers(torch_nn_init_xavier_uniform_, theirs)
    assert_refuses_few_axes(torch_nn_init_xavier_uniform_, theirs)


def test_negative_gain_is_refused():
    assert_both_refuse(
        lambda: filled(torch_nn_init_xavier_uniform_, (2, 2), gain=-1.0),
        lambda: theirs(torch.zeros(2, 2), gain=-1.0),
        "gain must be >= 0, got -1.0",
    )


def test_no_inputs_and_outputs_are_refused():
    with pytest.raises(ZeroDivisionError):
        theirs(torch.zeros(0, 0))
    with pytest.raises(ValueError, match=r"must have entries, got shape \(0, 0\)"):
        filled(torch_nn_init_xavier_uniform_, (0, 0))
